/* Choosing photos, the generated picture of each, and the model to ask, with its price. */

import { announce, askJson, byId, make, priceSentence, trouble } from "./server.js";
import { forget, keep, kept, newId } from "./store.js";

let chosen = []; // {id, photo: File, prior: File | null, url, priorUrl, width, height, error}
let offer = null; // models of the service

const way = () => document.querySelector("input[name=way]:checked").value;
const stem = (name) => name.replace(/\.[^.]*$/, "").toLowerCase();
const OTHER = [[/pdf$/, "a PDF"], [/^video\//, "a video"], [/^audio\//, "a sound"], [/^text\//, "a text"],
  [/zip|compressed/, "an archive"], [/word|officedocument|opendocument/, "a document"]];

// ---- what may be chosen ---------------------------------------------------------------------------

/** Why a file can be no picture, in plain words; "" where it may be one. */
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
    return { width: probe.naturalWidth, height: probe.naturalHeight, seen: true };
  } catch {
    const form = new FormData();
    form.append("photo", file, file.name);
    try {
      return { ...await askJson("/page/size", { method: "POST", body: form }), seen: false };
    } catch (error) {
      if (error.status !== 400) throw error;
      throw new Error(/megapixel/.test(error.message)
        ? file.name + " is too large: " + error.message.replace("photo: ", "") + "."
        : file.name + " is not a picture that can be read, or it is damaged. Take PNG, JPEG, HEIC, WebP, TIFF or AVIF.");
    }
  }
}

/** The files that are pictures with their sizes; of the others it is said why not. */
async function readable(files) {
  const faults = [], found = [], all = [...(files || [])];
  for (const [index, file] of all.entries()) {
    if (all.length > 1) byId("go-note").textContent = "Looking at picture " + (index + 1) + " of " + all.length + " …";
    const url = URL.createObjectURL(file);
    try {
      if (refusal(file)) throw new Error(refusal(file));
      found.push({ file, url, ...await sizeOf(file, url) });
    } catch (error) {
      URL.revokeObjectURL(url);
      faults.push(error.message);
    }
  }
  trouble(faults.join("\n"));
  return found;
}

export async function addPhotos(files) {
  for (const { file, url, width, height, seen, format } of await readable(files)) {
    const item = { id: newId(), photo: file, prior: null, url, priorUrl: "", width, height, seen, format, error: "" };
    chosen.push(item);
    keep(item);
  }
  if (chosen.length > 0) announce(chosen.length + (chosen.length === 1 ? " photo chosen" : " photos chosen"));
  showChosen();
}

function pair(item, found) {
  URL.revokeObjectURL(item.priorUrl);
  item.prior = found ? found.file : null;
  item.priorUrl = found ? found.url : "";
  item.priorSeen = found?.seen;
  keep(item);
  showChosen();
}

export function release(item) {
  for (const address of [item.url, item.priorUrl]) URL.revokeObjectURL(address);
}

/** Give every photo its prior: by name, else in order; a single one to a single photo. */
export async function addPriors(files) {
  if (chosen.length === 0) return trouble("Choose the photo first, then the picture made of it.");
  const left = (await readable(files)).filter((found) => {
    const match = chosen.length > 1 && chosen.find((item) => stem(item.photo.name) === stem(found.file.name));
    if (match) pair(match, found);
    return !match;
  });
  for (const found of left) {
    const item = chosen.find((one) => !one.prior) || (chosen.length === 1 ? chosen[0] : null);
    if (item) pair(item, found);
  }
  announce("Generated picture chosen");
}

let takePrior = () => {}; // what a single chosen prior is for

/** Let the user choose one generated picture; `take` gets the file. */
export function choosePrior(take) {
  takePrior = take;
  byId("prior-file").click();
}

// ---- the chosen ones ------------------------------------------------------------------------------------

function button(label, name, run) {
  const node = make("button", { type: "button", "aria-label": label + " " + name }, label);
  node.addEventListener("click", run);
  return node;
}

function drop(item) {
  release(item);
  forget(item.id);
  chosen = chosen.filter((one) => one !== item);
  showChosen();
  byId("photo-choose").focus();
}

/** A small picture of a file, or its format where the browser cannot show it. */
const thumb = (url, seen, format) => (seen === false
  ? make("span", { className: "thumb format", "aria-hidden": "true" }, format || "")
  : make("img", { className: "thumb", src: url, alt: "" }));

function chosenRow(item) {
  const name = item.photo.name, paired = way() === "picture";
  const words = [item.width ? item.width + " × " + item.height : "",
    !paired ? "" : item.prior ? "with " + item.prior.name : "no generated picture yet"].filter(Boolean).join(" · ");
  const thumbs = make("div", { className: "thumbs" }, thumb(item.url, item.seen, item.format));
  if (paired && item.prior) thumbs.append(thumb(item.priorUrl, item.priorSeen, ""));
  const actions = make("div", { className: "row" });
  if (paired) {
    actions.append(button(item.prior ? "Change picture" : "Add generated picture", "of " + name, () =>
      choosePrior((files) => replacePrior(item, files))));
    if (item.prior) actions.append(button("Remove picture", "of " + name, () => pair(item, null)));
  }
  actions.append(button("Remove", name, () => drop(item)));
  const node = make("li", { className: "item takes-prior" }, thumbs,
    make("div", {}, make("div", { className: "name" }, name), make("small", {}, words)), actions);
  if (paired) dropZone(node, (files) => replacePrior(item, files));
  return node;
}

async function replacePrior(item, files) {
  const [found] = await readable(files);
  if (found) pair(item, found);
}

function showChosen() {
  byId("chosen").replaceChildren(...chosen.map(chosenRow));
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
  const wishes = chosen.map(({ width, height }) => (
    { kind: "edit", model: byId("model").value, width, height, prompt: byId("wish").value }));
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
  byId("model-trouble").textContent = told.ready ? ""
    : "With a key, a model would make the picture from your photo, after its price was shown. No model can be asked yet: " + told.message;
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

/** Let pictures be dropped on an element. */
export function dropZone(zone, take) {
  const over = (on) => (event) => {
    event.preventDefault();
    event.stopPropagation();
    zone.classList.toggle("over", on);
  };
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => {
    over(false)(event);
    take(event.dataTransfer.files);
  });
}

function picker(button, input, take) {
  if (button) byId(button).addEventListener("click", () => byId(input).click());
  byId(input).addEventListener("change", async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    try {
      await take(files);
    } catch (error) {
      trouble(error.message);
    }
  });
}

/** Set up the choosing; resolves to what was being sent when the page was closed. */
export async function startChoosing() {
  picker("photo-choose", "photo-files", addPhotos);
  picker("photo-camera", "camera-file", addPhotos);
  picker("prior-choose", "prior-files", addPriors);
  picker(null, "prior-file", (files) => takePrior(files));
  dropZone(byId("photo-box"), addPhotos);
  dropZone(byId("way-picture"), addPriors);
  document.querySelectorAll("input[name=way]").forEach((input) => input.addEventListener("change", chooseWay));
  for (const [id, name] of [["model", "change"], ["wish", "change"]]) byId(id).addEventListener(name, showPrice);
  const items = (await kept()).map((item) => ({
    ...item, url: URL.createObjectURL(item.photo), priorUrl: item.prior ? URL.createObjectURL(item.prior) : "",
  }));
  chosen = items.filter((item) => !item.how);
  showChosen();
  return items.filter((item) => item.how);
}
