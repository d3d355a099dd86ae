/* Start of the page: its addresses (#restore, #generate, #result/ID/FIDELITY), tabs, paste, the first screen. */

import { announce, askJson, byId, make, trouble } from "./server.js";
import { addPhotos, addPriors, takeOffer as offerPriors } from "./choose.js";
import { startRestore } from "./restore.js";
import { offerTasks } from "./otherwise.js";
import { closeResult, leaveResult, openResult } from "./result.js";
import { startGenerate, takeOffer as offerPictures } from "./generate.js";

const TABS = ["restore", "generate"];
const TASKS = {
  restore: "damaged in some way", old_photo: "an old print", colorize: "black and white", lowlight: "too dark", dehaze: "hazy",
  derain: "taken in rain", desnow: "taken in snow", motion_deblur: "blurred by motion", defocus_deblur: "out of focus", denoise: "noisy",
  jpeg: "badly compressed", super_resolution: "too small", underwater: "taken under water", raindrop: "covered with drops",
  reflection: "full of reflections", flare: "full of lens flare", shadow: "partly in shadow",
};

// ---- addresses and tabs -----------------------------------------------------------------------------

function choose(name, focus) {
  for (const tab of TABS) {
    const on = tab === name;
    const button = byId("tab-" + tab);
    button.setAttribute("aria-selected", String(on));
    button.tabIndex = on ? 0 : -1;
    byId(tab).hidden = !on;
    if (on && focus) button.focus();
  }
}

/** Show the tab or result that the address names. */
async function route() {
  const [view, id, percent] = window.location.hash.slice(1).split("/");
  choose(view === "generate" ? view : "restore");
  if (view === "result" && id) await openResult(id, Number(percent));
  else closeResult();
}

function turnTo(tab, focus) {
  trouble("");
  window.history.replaceState(null, "", "#" + tab);
  route();
  choose(tab, focus);
}

window.addEventListener("popstate", route);
document.addEventListener("keydown", (event) => {
  const open = document.querySelector("dialog[open], .compare-full");
  if (event.key === "Escape" && !open && !event.defaultPrevented) leaveResult();
});
for (const [index, tab] of TABS.entries()) {
  const button = byId("tab-" + tab);
  button.addEventListener("click", () => turnTo(tab));
  button.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) turnTo(TABS[(index + step + TABS.length) % TABS.length], true);
  });
}

// ---- paste and drop -----------------------------------------------------------------------------------

const choosing = () => !byId("restore").hidden && !byId("list").hidden;

document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files;
  if (!files || files.length === 0 || !choosing()) return;
  event.preventDefault();
  const priors = byId("prior-box").contains(document.activeElement);
  (priors ? addPriors : addPhotos)(files);
});
// a picture dropped beside a zone is added as a photo, and must not replace the page
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  const zone = event.target.closest("#photo-box, #way-picture, .takes-prior");
  if (!zone && choosing() && event.dataTransfer.files.length > 0) addPhotos(event.dataTransfer.files);
});
byId("key-dialog").addEventListener("cancel", () => { byId("key").value = ""; });

// ---- the first screen -----------------------------------------------------------------------------------

function showShare() {
  byId("before-after").style.setProperty("--share", byId("before-after-share").value + "%");
}
byId("before-after-share").addEventListener("input", showShare);

/** Show the prompt for the fault that the user chooses; Verax sends the same prompt to a model. */
function takeWords(prompts) {
  const options = (none) => Object.entries({ ...none, ...TASKS }).filter(([task]) => !task || task in prompts)
    .map(([value, text]) => make("option", { value }, text));
  byId("words-task").replaceChildren(...options({}));
  offerTasks(options({ "": "Verax detects it" }));
  const show = () => { byId("words").value = prompts[byId("words-task").value]; };
  byId("words-task").addEventListener("change", show);
  show();
}

byId("words-copy").addEventListener("click", async () => {
  byId("words").select();
  // navigator.clipboard exists only in secure contexts; the older way always works
  const success = await (navigator.clipboard?.writeText(byId("words").value).then(() => true, () => false) ?? false)
    || document.execCommand("copy");
  byId("words-copy").textContent = success ? "Copied" : "Please copy it yourself";
  announce(byId("words-copy").textContent);
  window.setTimeout(() => { byId("words-copy").textContent = "Copy the prompt"; }, 3000);
});

try {
  await startRestore();
  await route();
  await startGenerate();
  const offer = await askJson("/page/models");
  takeWords(offer.prompts);
  offerPriors(offer);
  offerPictures(offer);
} catch (error) {
  trouble(error.message);
}
document.body.dataset.ready = "yes";
