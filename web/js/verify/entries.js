// Entries of the logs: canonical JSON (RFC 8785) of objects, arrays, strings and whole numbers, and bundles of them.

import { equal, fromUtf8, require, unbase64, utf8 } from "./bytes.js";

const MOST_BYTES = 65_535;
const MOST_LEVELS = 16;

/** The one text of a value. */
function write(value, levels) {
  if (typeof value === "string") {
    require(!/\p{Surrogate}/u.test(value), "canonical");
    return JSON.stringify(value);
  }
  if (typeof value === "number") {
    require(Number.isSafeInteger(value) && value >= 0, "canonical");
    return String(value);
  }
  require(typeof value === "object" && value !== null && levels > 0, "canonical");
  if (Array.isArray(value)) return `[${value.map((inner) => write(inner, levels - 1)).join()}]`;
  // Comparing strings compares their UTF-16 code units, as the standard asks.
  const keys = Object.keys(value).sort((a, b) => (a < b ? -1 : 1));
  return `{${keys.map((key) => `${write(key, levels)}:${write(value[key], levels - 1)}`).join()}}`;
}

/** The value of an entry. Its bytes must be the only ones that have this value. */
export function readEntry(bytes) {
  require(bytes.length <= MOST_BYTES, "canonical");
  let value;
  try {
    value = JSON.parse(fromUtf8(bytes));
  } catch {
    require(false, "canonical");
  }
  require(equal(utf8(write(value, MOST_LEVELS)), bytes), "canonical");
  return value;
}

/** An order of a ticket log: these three fields and no others. */
export function readOrder(bytes) {
  const order = readEntry(bytes);
  require(Object.keys(order).join() === "first,owner,picks" &&
    Number.isSafeInteger(order.first) &&
    order.first > 0, "order");
  require(typeof order.owner === "string" && Array.isArray(order.picks) && order.picks.length > 0, "order");
  unbase64(order.owner, 32);
  for (const pick of order.picks) {
    require(Array.isArray(pick) && pick.length > 0, "order");
    pick.forEach((number, at) =>
      require(Number.isInteger(number) && number <= 64 && number > (pick[at - 1] ?? 0), "order"),
    );
  }
  return order;
}

/** The entries of a bundle of C2SP tlog-tiles: each after its length. */
export function* entriesOf(bundle) {
  for (let at = 0; at < bundle.length;) {
    require(at + 2 <= bundle.length, "bundle");
    const end = at + 2 + bundle[at] * 256 + bundle[at + 1];
    require(end <= bundle.length, "bundle");
    yield bundle.subarray(at + 2, end);
    at = end;
  }
}

const TILE = 256;
/** The addresses of the bundles of a log with so many entries. */
export function* bundlePaths(size) {
  for (let first = 0; first < size; first += TILE) yield bundlePath(first, size);
}

/** The address of the bundle that has the entry with this index, in a log with so many entries. */
export function bundlePath(index, size) {
  const tile = Math.floor(index / TILE);
  const width = Math.min(TILE, size - tile * TILE);
  return `tile/entries/${tilePath(tile)}${width < TILE ? `.p/${width}` : ""}`;
}

/** The entry with this index, from its bundle. */
export const entryOf = (bundle, index) => [...entriesOf(bundle)][index % TILE];

/** A number of a tile in groups of three digits: 1234067 is x001/x234/067. */
function tilePath(index) {
  const groups = [];
  do {
    groups.unshift(String(index % 1000).padStart(3, "0"));
    index = Math.floor(index / 1000);
  } while (index > 0);
  return groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join("/");
}
