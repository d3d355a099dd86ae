/* Choosing photos, the generated picture of each, and the model to ask, with its price. */

import { readable } from "./readable.js";
import { announce, byId, make, priceSentence, trouble } from "./server.js";
import { forget, keep, kept, newId } from "./store.js";
import { findPrint, startStraighten, straighten } from "./straighten.js";

// {id, photo: File, prior: File | null, url, priorUrl, width, height, error}, and of a straightened one
// {shot: what was chosen, corners: of the print in it, as shares}
let chosen = [];
let offer = null; // models of the service

const way = () => document.querySelector("input[name=way]:checked").value;
const stem = (name) => name.replace(/\.[^.]*$/, "").toLowerCase();

// ---- photos and their priors --------------------------------------------------------------------------

export async function addPhotos(files) {
  for (const { file, url, width, height, seen, format } of await readable(files)) {
    const item = { id: newId(), photo: file, prior: null, url, priorUrl: "", width, height, seen, format, error: "" };
    chosen.push(item);
    keep(item);
  }
  lookForPrints();
  if (chosen.length > 0) announce(chosen.length + (chosen.length === 1 ? " photo chosen" : " photos chosen"));
  showChosen();
}

let looking = Promise.resolve(); // one after another, so that nothing else waits for it

/** Offer to straighten photos that look like a shot of a print. */
function lookForPrints() {
  for (const item of chosen) looking = looking.then(() => lookForPrint(item));
}

async function lookForPrint(item) {
  if (!offer || item.corners !== undefined || !chosen.includes(item)) return;
  item.corners = await findPrint(item).catch(() => null);
  if (item.corners && chosen.includes(item)) showChosen();
}

/** Take another file for a chosen photo; the user's own file stays as it is. */
function change(item, { photo, ...about }, words) {
  URL.revokeObjectURL(item.url);
  Object.assign(item, { ...about, photo, url: URL.createObjectURL(photo) });
  keep(item);
  announce(words);
  showChosen();
}

/** Take the print out of its shot. */
async function makeFlat(item) {
  const { photo, width, height, seen, format } = item;
  try {
    const print = await straighten(item);
    const [flat] = print ? await readable([print]) : [];
    if (!flat || !chosen.includes(item)) return;
    URL.revokeObjectURL(flat.url);
    const about = { photo: flat.file, width: flat.width, height: flat.height, seen: true, format: "PNG" };
    change(item, { ...about, shot: { photo, width, height, seen, format } }, "Straightened");
  } catch (error) {
    trouble(error.message);
  }
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
  const words = [item.shot ? "straightened" : item.corners ? "looks like a shot of a print" : "", item.width ? item.width + " × " + item.height : "",
    !paired ? "" : item.prior ? "with " + item.prior.name : "no generated picture yet"].filter(Boolean).join(" · ");
  const thumbs = make("div", { className: "thumbs" }, thumb(item.url, item.seen, item.format));
  if (paired && item.prior) thumbs.append(thumb(item.priorUrl, item.priorSeen, ""));
  const actions = make("div", { className: "row" });
  if (paired) {
    actions.append(button(item.prior ? "Change picture" : "Add generated picture", "of " + name, () =>
      choosePrior((files) => replacePrior(item, files))));
    if (item.prior) actions.append(button("Remove picture", "of " + name, () => pair(item, null)));
  }
  if (item.shot) actions.append(button("Undo straightening", "of " + name, () => change(item, { ...item.shot, shot: null }, "The shot is back")));
  else if (item.corners) actions.append(button("Straighten", name, () => makeFlat(item)));
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

/** Show the rows anew; whoever was on a button stays on it, or on its row. */
function showRows() {
  const held = document.activeElement, index = [...byId("chosen").children].indexOf(held.closest("#chosen > li"));
  byId("chosen").replaceChildren(...chosen.map(chosenRow));
  const buttons = [...byId("chosen").children[index]?.querySelectorAll("button") || []];
  (buttons.find((one) => one.ariaLabel === held.ariaLabel) || buttons[0])?.focus();
}

function showChosen() {
  showRows();
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
  lookForPrints();
  showChosen();
}

/** What was chosen, with how it is to be restored; nothing is chosen afterwards. */
export function takeChosen() {
  const how = { way: way(), model: byId("model").value, wish: byId("wish").value };
  const taken = chosen.map(({ shot, corners, ...item }) => ({ ...item, how }));
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
  startStraighten();
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
