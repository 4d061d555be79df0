// Store: the list of pairs that this browser keeps, in its localStorage; events between parts.
"use strict";

const HISTORY_KEY = "simba-music-history";
const PENDING_KEY = "simba-music-pending";
const MOST_KEPT = 50;

// ---- Logic without a page: tested with node. ----

// Recipes and addresses of a pair in one order, however the page names its sides.
function pairOf({ id, recipes, urls }) {
  return { id, recipes: Object.values(recipes), urls: Object.values(urls) };
}

// A pair of the page as it is kept: `asked` fills the form again, `urls` are clips on the server.
function entryOf(pair, at) {
  const { id, recipes, urls } = pairOf(pair);
  const { prompt, seed, ...settings } = recipes[0].request;
  const seeds = recipes.map(({ request }) => request.seed);
  const names = recipes.map(({ model }) => model.id);
  const models = { left: names[0], right: names.find((name) => name !== names[0]) ?? names[0] };
  const paths = urls.map((url) => url.replace(/^https?:\/\/[^/]+/, ""));
  const asked = { prompt, seed, seeds, settings, models };
  const seconds = pair.seconds && Math.max(...Object.values(pair.seconds)); // less if it was stopped
  return { id, at, star: false, recipes, urls: paths, asked, seconds };
}

// How long a pair is in s, as it is shown.
function lengthOf({ seconds, asked }) {
  return Math.round(10 * (seconds ?? asked.settings.duration_s)) / 10;
}

// The list with an entry in front; beyond `most` the oldest go, those without a star first.
function withEntry(list, entry, most = MOST_KEPT) {
  const before = list.find(({ id }) => id === entry.id);
  const found = [{ ...entry, star: before?.star ?? entry.star }, ...list.filter((e) => e !== before)];
  while (found.length > most) {
    let last = found.length - 1;
    for (let i = last; i > 0; i--)
      if (!found[i].star) {
        last = i;
        break;
      }
    found.splice(last, 1);
  }
  return found;
}

// What a browser has kept, or nothing where it cannot be read: another version, or a stranger's.
function parsedHistory(text) {
  try {
    const found = JSON.parse(text ?? "[]");
    const sound = (e) => typeof e?.id === "string" && typeof e.at === "number"
      && typeof e.asked?.prompt === "string" && Number.isFinite(e.asked.seed)
      && typeof e.asked.settings === "object" && Array.isArray(e.urls)
      && Array.isArray(e.recipes);
    return Array.isArray(found) ? found.filter(sound).slice(0, MOST_KEPT) : [];
  } catch {
    return [];
  }
}

// ---- On a page. ----

function storageOf(kind) {
  try {
    return window[kind];  // refused where a browser keeps nothing
  } catch {
    return null;
  }
}

function readHistory() {
  return parsedHistory(storageOf("localStorage")?.getItem(HISTORY_KEY));
}

// Keeps the list, less of it where a browser has no room; false where it keeps nothing.
function writeHistory(list) {
  for (let most = list.length; ; most = Math.floor(most / 2)) {
    try {
      storageOf("localStorage").setItem(HISTORY_KEY, JSON.stringify(list.slice(0, most)));
      return true;
    } catch {
      if (most === 0) return false;
    }
  }
}

function send(name, detail) {
  return document.dispatchEvent(new CustomEvent(name, { detail, cancelable: true }));
}

// Fills the form of the page; with `play`, clips are wanted at once.
function restoreForm(asked, play) {
  const settings = { ...asked.settings, ...asked.models };
  return send("simba:restore", { ...asked, settings, play });
}

// An element with properties and children; text never becomes HTML.
function make(tag, properties = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name in found) found[name] = value;
    else found.setAttribute(name, value);
  found.append(...children);
  return found;
}

// Asks the server; an answer that does not come is one that says so.
async function ask(server, name, data) {
  try {
    return await server[name](data);
  } catch {
    return { error: WORDS.no_answer };
  }
}
