/* The shapes and sizes that a model allows, by the rules from the server, in pixels. */

const SHAPES = [
  ["1:1 square", 1, 1], ["4:3", 4, 3], ["3:4", 3, 4], ["3:2", 3, 2], ["2:3", 2, 3],
  ["16:9 wide", 16, 9], ["9:16 tall", 9, 16], ["2:1", 2, 1], ["1:2", 1, 2], ["3:1 panorama", 3, 1],
];
const MEGAPIXELS = [0.7, 1.05, 1.6, 2.1, 4, 8.29];

/** Whether a model with free sizes accepts width x height. */
export function legal(rules, width, height) {
  const area = width * height;
  return width % rules.multiple === 0 && height % rules.multiple === 0
    && Math.max(width, height) <= rules.max_edge
    && Math.max(width, height) <= rules.max_ratio * Math.min(width, height)
    && area >= rules.min_pixels && area <= rules.max_pixels;
}

/** Shapes with their sizes: [{shape, sizes: ["1536x1024", ...]}]. */
export function choices(rules) {
  if (rules.fixed.length > 0) {
    return rules.fixed.map((size) => ({ shape: shapeOf(...size.split("x").map(Number)), sizes: [size] }));
  }
  return SHAPES.map(([shape, across, down]) => {
    const sizes = new Set();
    for (const megapixels of MEGAPIXELS) {
      const unit = Math.sqrt((megapixels * 1e6) / (across * down));
      const [width, height] = [across, down].map((part) =>
        Math.max(1, Math.round((part * unit) / rules.multiple)) * rules.multiple);
      const off = Math.abs((width * down) / (height * across) - 1);
      if (legal(rules, width, height) && off < 0.03) sizes.add(width + "x" + height);
    }
    return { shape, sizes: [...sizes] };
  }).filter((choice) => choice.sizes.length > 0);
}

function shapeOf(width, height) {
  const usual = SHAPES.find(([, across, down]) => Math.abs((width * down) / (height * across) - 1) < 0.02);
  return usual ? usual[0] : width + ":" + height;
}
