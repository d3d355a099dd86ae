/* Checks chosen files: pictures get their size, others a reason. */

import { askJson, byId, trouble } from "./server.js";

const OTHER = [[/pdf$/, "a PDF"], [/^video\//, "a video"], [/^audio\//, "a sound file"], [/^text\//, "a text file"],
  [/zip|compressed/, "an archive"], [/word|officedocument|opendocument/, "a document"]];

/** Why a file cannot be a picture, in plain words; "" if it may be one. */
function refusal(file) {
  const other = OTHER.find(([type]) => type.test(file.type));
  if (other) return file.name + " is " + other[1] + ", not a picture. Save the picture itself as PNG or JPEG.";
  if (file.size === 0) return file.name + " is empty (0 bytes). Save or download it again.";
  return "";
}

/** Width and height of a picture file, as the browser or, for HEIC and the like, the server reads it. */
async function sizeOf(file, url) {
  const probe = new Image();
  probe.src = url;
  try {
    await probe.decode();
    return { width: probe.naturalWidth, height: probe.naturalHeight, visible: true };
  } catch {
    const form = new FormData();
    form.append("photo", file, file.name);
    try {
      return { ...await askJson("/page/size", { method: "POST", body: form }), visible: false };
    } catch (error) {
      if (error.status !== 400) throw error;
      throw new Error(/megapixel/.test(error.message)
        ? file.name + " is too large: " + error.message.replace("photo: ", "") + "."
        : file.name + " is not a picture that can be read, or it is damaged. Use PNG, JPEG, HEIC, WebP, TIFF or AVIF.");
    }
  }
}

/** The files that are pictures, with their sizes; a message says why others are not. */
export async function readable(files) {
  const faults = [], pictures = [], all = [...(files || [])];
  for (const [index, file] of all.entries()) {
    if (all.length > 1) byId("go-note").textContent = "Looking at picture " + (index + 1) + " of " + all.length + " …";
    const url = URL.createObjectURL(file);
    try {
      if (refusal(file)) throw new Error(refusal(file));
      pictures.push({ file, url, ...await sizeOf(file, url) });
    } catch (error) {
      URL.revokeObjectURL(url);
      faults.push(error.message);
    }
  }
  trouble(faults.join("\n"));
  return pictures;
}
