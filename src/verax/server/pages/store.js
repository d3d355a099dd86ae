/* Chosen files that the server does not have yet, stored in the browser (IndexedDB) over a reload.
 * Where that is not allowed, such as in a private window, nothing is stored and nothing fails. */

const OWNER = "verax-owner"; // separates tabs with different keys
const DAY_MS = 24 * 3600 * 1000;

const connection = new Promise((resolve) => {
  try {
    const request = window.indexedDB.open("verax", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("waiting", { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);
  } catch {
    resolve(null);
  }
});

/** The result of one IndexedDB request; null without one. */
async function run(mode, work) {
  const database = await connection;
  if (!database) return null;
  return new Promise((resolve) => {
    try {
      const request = work(database.transaction("waiting", mode).objectStore("waiting"));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
}

/** The owner of this tab; the same for all if no key is needed. */
function owner() {
  if (!sessionStorage.getItem("verax-key")) return "";
  if (!sessionStorage.getItem(OWNER)) sessionStorage.setItem(OWNER, newId());
  return sessionStorage.getItem(OWNER);
}

/** Store an item with its files. */
export function keep({ url, priorUrl, ...item }) {
  return run("readwrite", (store) => store.put({ ...item, owner: owner(), at: Date.now() }));
}

export const forget = (id) => run("readwrite", (store) => store.delete(id));

/** The items stored for this tab, oldest first; items older than a day are dropped. */
export async function recall() {
  const all = (await run("readonly", (store) => store.getAll())) || [];
  const old = all.filter((item) => Date.now() - item.at > DAY_MS);
  for (const item of old) forget(item.id);
  return all.filter((item) => item.owner === owner() && !old.includes(item)).sort((a, b) => a.at - b.at);
}

/** A new entry id in the server's format, 22 characters; it makes repeated requests idempotent. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").slice(0, 22);
}
