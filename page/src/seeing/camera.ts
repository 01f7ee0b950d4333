/** Which part of the plane is in the picture; both axes always have the same scale, as distances mean something. */

export interface Camera {
  /** Point of the plane in the middle of the picture. */
  x: number;
  y: number;
  /** Pixels for one unit of the plane. */
  scale: number;
}

export interface Bounds {
  minX: number;
  minY: number;
  maxX: number;
  maxY: number;
  /** Points with both coordinates. */
  count: number;
}

/** The smallest box around all points that have coordinates. */
export function boundsOf(points: Float32Array): Bounds {
  const bounds = { minX: Infinity, minY: Infinity, maxX: -Infinity, maxY: -Infinity, count: 0 };
  for (let i = 0; i + 1 < points.length; i += 2) {
    const x = points[i];
    const y = points[i + 1];
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    if (x < bounds.minX) bounds.minX = x;
    if (x > bounds.maxX) bounds.maxX = x;
    if (y < bounds.minY) bounds.minY = y;
    if (y > bounds.maxY) bounds.maxY = y;
    bounds.count++;
  }
  return bounds;
}

/** The camera that shows all of `bounds` with a margin in pixels; a single point is shown in the middle. */
export function fitted(bounds: Bounds, width: number, height: number, margin: number): Camera {
  if (bounds.count === 0) return { x: 0, y: 0, scale: 1 };
  const spanX = bounds.maxX - bounds.minX;
  const spanY = bounds.maxY - bounds.minY;
  const roomX = Math.max(1, width - 2 * margin);
  const roomY = Math.max(1, height - 2 * margin);
  const scale = spanX > 0 || spanY > 0 ? Math.min(roomX / spanX, roomY / spanY) : Math.min(roomX, roomY);
  return { x: (bounds.minX + bounds.maxX) / 2, y: (bounds.minY + bounds.maxY) / 2, scale };
}

/** From the plane to pixels; y grows upwards in the plane and downwards in the picture. */
export function toPixel(camera: Camera, width: number, height: number, x: number, y: number): [number, number] {
  return [(x - camera.x) * camera.scale + width / 2, height / 2 - (y - camera.y) * camera.scale];
}

/** From pixels to the plane. */
export function toPlane(camera: Camera, width: number, height: number, px: number, py: number): [number, number] {
  return [camera.x + (px - width / 2) / camera.scale, camera.y - (py - height / 2) / camera.scale];
}

/** The content follows the pointer by (dx, dy) pixels. */
export function panned(camera: Camera, dx: number, dy: number): Camera {
  return { x: camera.x - dx / camera.scale, y: camera.y + dy / camera.scale, scale: camera.scale };
}

/** Larger by `factor`, with the point under (px, py) held; never beyond 1/2 to 400 times `whole`, the scale of all. */
export function zoomed(
  camera: Camera,
  factor: number,
  px: number,
  py: number,
  width: number,
  height: number,
  whole: number,
): Camera {
  const scale = Math.min(whole * 400, Math.max(whole / 2, camera.scale * factor));
  const [x, y] = toPlane(camera, width, height, px, py);
  return { x: x - (px - width / 2) / scale, y: y + (py - height / 2) / scale, scale };
}
