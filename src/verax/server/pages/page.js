/* Start of the page: tabs, paste, and what both tabs share. */

import { askJson, byId, trouble } from "./server.js";
import { addPhotos, addPriors, takeOffer as offerPriors } from "./choose.js";
import { startRestore } from "./restore.js";
import { startGenerate, takeOffer as offerPictures } from "./generate.js";

const TABS = ["restore", "generate"];

function choose(name, focus) {
  for (const tab of TABS) {
    const on = tab === name;
    const button = byId("tab-" + tab);
    button.setAttribute("aria-selected", String(on));
    button.tabIndex = on ? 0 : -1;
    byId(tab).hidden = !on;
    if (on && focus) button.focus();
  }
  trouble("");
  window.history.replaceState(null, "", "#" + name);
}

for (const [index, tab] of TABS.entries()) {
  const button = byId("tab-" + tab);
  button.addEventListener("click", () => choose(tab));
  button.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) choose(TABS[(index + step + TABS.length) % TABS.length], true);
  });
}
if (window.location.hash === "#generate") choose("generate");

document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files;
  if (!files || files.length === 0 || byId("restore").hidden) return;
  event.preventDefault();
  const priors = byId("prior-box").contains(document.activeElement);
  (priors ? addPriors : addPhotos)(files);
});
// a picture dropped beside a zone must not replace the page; it is a photo
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  const beside = !event.target.closest("#photo-box, #way-picture");
  if (beside && !byId("restore").hidden && event.dataTransfer.files.length > 0) addPhotos(event.dataTransfer.files);
});
byId("key-dialog").addEventListener("cancel", () => { byId("key").value = ""; });

try {
  await startRestore();
  await startGenerate();
  const offer = await askJson("/page/models");
  offerPriors(offer);
  offerPictures(offer);
} catch (error) {
  trouble(error.message);
}
document.body.dataset.ready = "yes";
