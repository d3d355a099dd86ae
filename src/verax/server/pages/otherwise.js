/* Restoring again with other settings: another generated picture, painted places, the named fault. */

import { paint, startBrush } from "./brush.js";
import { choosePrior, dropZone } from "./choose.js";
import { byId, trouble } from "./server.js";

let current = () => null; // the visible entry
let again = () => {}; // restores it with other settings

/** Show which of these settings an entry was made with. */
export function tellOtherwise(entry) {
  const prior = entry.prior !== "none" && entry.prior !== undefined;
  byId("otherwise").hidden = !entry.format;
  byId("other-prior-choose").textContent = prior ? "Change" : "Add";
  byId("other-prior-remove").hidden = !prior;
  for (const kind of ["mask", "only"]) {
    const drawing = (entry.drawn || []).includes(kind);
    byId("other-" + kind).textContent = drawing ? "Paint again" : "Paint";
    byId("other-" + kind + "-remove").hidden = !drawing;
  }
  byId("scale").querySelector("[value=prior]").disabled = entry.prior !== "used";
  byId("other-task").value = entry.task || "";
}

/** The tasks as options of the select element. */
export function offerTasks(options) {
  byId("other-task").replaceChildren(...options);
  byId("other-task").value = current()?.task || "";
}

async function otherwise(changes) {
  trouble("");
  window.scrollTo({ top: 0 });
  try {
    await again(current(), changes);
  } catch (error) {
    trouble(error.message);
  }
}

/** Set up the controls: `entry` returns the visible entry, `make` restores it again. */
export function startOtherwise(entry, make) {
  [current, again] = [entry, make];
  const withPrior = (files) => (files.length > 0 ? otherwise({ prior: files[0] }) : undefined);
  byId("other-prior-choose").addEventListener("click", () => choosePrior(withPrior));
  byId("other-prior-remove").addEventListener("click", () => otherwise({ prior: "" }));
  dropZone(byId("other-prior"), withPrior);
  for (const kind of ["mask", "only"]) {
    byId("other-" + kind).addEventListener("click", async () => {
      const drawing = await paint(current(), kind);
      if (drawing) otherwise({ [kind]: drawing });
    });
    byId("other-" + kind + "-remove").addEventListener("click", () => otherwise({ [kind]: "" }));
  }
  byId("other-task").addEventListener("change", () => otherwise({ task: byId("other-task").value }));
  startBrush();
}
