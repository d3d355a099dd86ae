/* Choosing photos, the generated picture of each, and the model to ask, with its price. */

import { announce, byId, make, priceSentence, trouble } from "./server.js";

let chosen = []; // {photo: File, prior: File | null, url, priorUrl, width, height}
let offer = null; // models of the service

const way = () => document.querySelector("input[name=way]:checked").value;
const stem = (name) => name.replace(/\.[^.]*$/, "").toLowerCase();
const pictures = (files) => Array.from(files || []).filter((file) =>
  file.type.startsWith("image/") || /\.(heic|heif|avif|tiff?|webp)$/i.test(file.name));

// ---- choosing -----------------------------------------------------------------------------------

export function addPhotos(files) {
  const found = pictures(files);
  if (found.length === 0) return trouble("That is not a picture. Choose PNG, JPEG, WebP, TIFF, AVIF or HEIC files.");
  trouble("");
  for (const photo of found) {
    const item = { photo, prior: null, url: URL.createObjectURL(photo), priorUrl: "", width: 0, height: 0 };
    const probe = new Image();
    probe.addEventListener("load", () => {
      [item.width, item.height] = [probe.naturalWidth, probe.naturalHeight];
      showPrice();
    });
    probe.src = item.url;
    chosen.push(item);
  }
  announce(chosen.length + (chosen.length === 1 ? " photo chosen" : " photos chosen"));
  return showChosen();
}

function pair(item, prior) {
  item.prior = prior;
  URL.revokeObjectURL(item.priorUrl);
  item.priorUrl = URL.createObjectURL(prior);
}

export function release(item) {
  for (const address of [item.url, item.priorUrl]) URL.revokeObjectURL(address);
}

/** Give every photo its prior: by name, else in order; a single one to a single photo. */
export function addPriors(files) {
  const found = pictures(files);
  if (found.length === 0) return trouble("That is not a picture.");
  trouble("");
  if (chosen.length === 0) return trouble("Choose the photo first, then the picture made of it.");
  const free = chosen.filter((item) => !item.prior);
  const left = found.filter((prior) => {
    const match = chosen.length > 1 && chosen.find((item) => stem(item.photo.name) === stem(prior.name));
    if (match) pair(match, prior);
    return !match;
  });
  for (const prior of left) {
    const item = free.find((one) => !one.prior) || (chosen.length === 1 ? chosen[0] : null);
    if (item) pair(item, prior);
  }
  announce("Generated picture chosen");
  return showChosen();
}

function showChosen() {
  byId("chosen").replaceChildren(...chosen.map((item) => {
    const drop = make("button", { type: "button", "aria-label": "Remove " + item.photo.name }, "Remove");
    drop.addEventListener("click", () => {
      release(item);
      chosen = chosen.filter((one) => one !== item);
      showChosen();
      byId("photo-choose").focus();
    });
    const words = way() !== "picture" ? "" : item.prior ? "with " + item.prior.name : "no generated picture yet";
    const thumbs = make("div", { className: "thumbs" }, make("img", { className: "thumb", src: item.url, alt: "" }));
    if (way() === "picture" && item.prior) thumbs.append(make("img", { className: "thumb", src: item.priorUrl, alt: "" }));
    return make("li", { className: "item" }, thumbs,
      make("div", {}, make("div", { className: "name" }, item.photo.name), make("small", {}, words)), drop);
  }));
  const count = chosen.length;
  const needModel = way() === "model" && !(offer && offer.ready);
  byId("go").disabled = count === 0 || needModel;
  byId("go").textContent = count > 1 ? "Restore " + count + " photos" : "Restore";
  const without = chosen.filter((item) => !item.prior).length;
  byId("go-note").textContent = count === 0 ? "Choose a photo first."
    : way() === "picture" && without > 0
      ? (count === 1 ? "Without a generated picture the photo is restored alone."
        : without + " without a generated picture will be restored alone.") : "";
  showPrice();
}

function chooseWay() {
  byId("way-picture").hidden = way() !== "picture";
  byId("way-model").hidden = way() !== "model";
  showChosen();
}

let asking = 0; // only the answer to the last question counts

/** The model's price for what is chosen, before anything is sent. */
async function showPrice() {
  const line = byId("price");
  if (way() !== "model" || !offer || !offer.ready) {
    line.textContent = "";
    return;
  }
  if (chosen.length === 0) {
    line.textContent = "Choose a photo to see the price.";
    return;
  }
  const wishes = chosen.map((item) => (
    { kind: "edit", model: byId("model").value, width: item.width || 1024, height: item.height || 1024 }));
  const asked = (asking += 1);
  try {
    const sentence = await priceSentence(wishes);
    if (asked === asking) line.textContent = sentence;
  } catch (error) {
    line.textContent = error.message;
  }
}

export function takeOffer(told) {
  offer = told;
  byId("model").replaceChildren(...told.models.map((model) => make("option", { value: model.id }, model.id)));
  byId("model-trouble").hidden = told.ready;
  byId("model-trouble").textContent = told.ready ? "" : "No model can be asked yet: " + told.message;
  for (const id of ["model", "wish"]) byId(id).disabled = !told.ready;
  showChosen();
}

/** What was chosen, with how it is to be restored; nothing is chosen afterwards. */
export function takeChosen() {
  const how = { way: way(), model: byId("model").value, wish: byId("wish").value };
  const taken = chosen.map((item) => ({ ...item, how }));
  chosen = [];
  showChosen();
  return taken;
}

// ---- start ----------------------------------------------------------------------------------------

function dropZone(zone, take) {
  const over = (on) => (event) => {
    event.preventDefault();
    zone.classList.toggle("over", on);
  };
  zone.addEventListener("dragenter", over(true));
  zone.addEventListener("dragover", over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => {
    over(false)(event);
    take(event.dataTransfer.files);
  });
}

function picker(button, input, take) {
  byId(button).addEventListener("click", () => byId(input).click());
  byId(input).addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = "";
  });
}

export function startChoosing() {
  picker("photo-choose", "photo-files", addPhotos);
  picker("photo-camera", "camera-file", addPhotos);
  picker("prior-choose", "prior-files", addPriors);
  dropZone(byId("photo-box"), addPhotos);
  dropZone(byId("way-picture"), addPriors);
  document.querySelectorAll("input[name=way]").forEach((input) => input.addEventListener("change", chooseWay));
  byId("model").addEventListener("change", showPrice);
}
