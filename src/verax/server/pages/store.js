/* What was chosen and is not with the server yet, kept in the browser (IndexedDB) over a reload.
 * Where that is not allowed, such as in a private window, nothing is kept and nothing fails. */

const OWNER = "verax-owner"; // sets apart the tabs of people with keys of their own
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

/** The result of one request to the store; null where there is none. */
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

/** Whose tab this is: anybody's where no key is asked for. */
function owner() {
  if (!sessionStorage.getItem("verax-key")) return "";
  if (!sessionStorage.getItem(OWNER)) sessionStorage.setItem(OWNER, newId());
  return sessionStorage.getItem(OWNER);
}

/** Keep an item, its files included. */
export function keep({ url, priorUrl, ...item }) {
  return run("readwrite", (store) => store.put({ ...item, owner: owner(), at: Date.now() }));
}

export const forget = (id) => run("readwrite", (store) => store.delete(id));

/** What is kept for this tab, oldest first; what nobody came back for within a day is dropped. */
export async function recall() {
  const all = (await run("readonly", (store) => store.getAll())) || [];
  const old = all.filter((item) => Date.now() - item.at > DAY_MS);
  for (const item of old) forget(item.id);
  return all.filter((item) => item.owner === owner() && !old.includes(item)).sort((a, b) => a.at - b.at);
}

/** An id for an entry, as the server makes them: 22 letters, so that nothing is taken in twice. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").slice(0, 22);
}
