"""The gRPC transport: a thin codec between protobuf and `service.core`."""
