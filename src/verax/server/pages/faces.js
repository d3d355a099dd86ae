/* Every face side by side: in the photo, the generated picture, the restoration and the trust map. */

import { byId, make, pictureAddress } from "./server.js";

const AROUND = 0.35; // margin around a face, share of its width
const VERDICTS = {
  same: "It is still your photo's face.",
  another: "The face looks different from the photo. Look closely, or raise the fidelity.",
  "cannot be told": "It is too small or too blurred to tell whether it is still the same face.",
};
const REDRAWN = "The generated picture shows another face here.";

/** A square around a box, as shares of the picture: left, top, width, height. */
function square([left, top, right, bottom], { width, height }) {
  const side = Math.min(width, height, (1 + 2 * AROUND) * Math.max(right - left, bottom - top));
  const start = (low, high, most) => Math.min(most - side, Math.max(0, (low + high - side) / 2));
  return [start(left, right, width) / width, start(top, bottom, height) / height, side / width, side / height];
}

function crop(entry, picture, words, [left, top, width, height]) {
  const image = make("img", { alt: "Face, " + words });
  Object.assign(image.style, {
    width: 100 / width + "%", height: 100 / height + "%", left: -100 * left / width + "%", top: -100 * top / height + "%",
  });
  pictureAddress(entry.id, picture).then((address) => { image.src = address; }, () => {});
  return make("figure", {}, make("div", { className: "face" }, image), make("figcaption", {}, words));
}

function row(entry, face, stop) {
  const box = square(face.box, entry);
  const pictures = [["photo", "photo"], ["registered", "generated picture"], [stop.restoration, "restoration"],
    [stop.trust_map, "trust map"]];
  const words = [VERDICTS[face.restoration.verdict], face.prior.verdict === "another" ? REDRAWN : "",
    Math.round(100 * face.generated) + " % of the face are pixels of the generated picture."].filter(Boolean).join(" ");
  return make("li", { className: face.restoration.verdict === "another" ? "warned" : "" },
    make("div", { className: "face-row" }, ...pictures.map(([name, caption]) => crop(entry, name, caption, box))),
    make("p", {}, words));
}

/** Show the faces of an entry at a stop of the dial. */
export function tellFaces(entry, stop) {
  const faces = stop.faces || [];
  byId("faces-box").hidden = faces.length === 0;
  byId("faces").replaceChildren(...faces.map((face) => row(entry, face, stop)));
}
