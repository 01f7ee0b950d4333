"""The messages of proto/totalvi_v1.proto and their codec, which gRPC and the REST routes' protobuf bodies share."""
