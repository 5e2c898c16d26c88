// The three HTML documents. Each is whole, so that it can be read alone; this holds what they must have in common, and that
// each preloads the modules that its entry imports at once, and no others.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const web = new URL("../../web/", import.meta.url);
const read = (name) => readFileSync(new URL(name, web), "utf8");
const DOCUMENTS = { "index.html": "js/player.js", "admin.html": "js/admin.js", "verify.html": "js/verify.js" };

/** The modules that a module imports, and what these import; not what is loaded later. */
function imported(name, found = new Set()) {
  for (const [, target] of read(name).matchAll(/^(?:import|export) [^;]*? from "([^"]+)";$/gm)) {
    const module = path.posix.join(path.posix.dirname(name), target);
    if (!found.has(module)) imported(module, found.add(module));
  }
  return found;
}

const lines = (html, pattern) => html.split("\n").filter((line) => pattern.test(line));

test("the documents have the same head, but for their names and files", () => {
  const common = (name) => lines(read(name), /<meta (charset|name="(viewport|theme-color))|rel="icon"|css\/(tokens|style)\.css|noscript|id="(skip|header|main|say|say-now)"/);
  const [first, ...others] = Object.keys(DOCUMENTS).map((name) => common(name).map((line) => line.trim().replace("/admin", "/")));
  assert.ok(first.length > 10, first);
  for (const other of others) assert.deepEqual(other, first);
});

test("each document preloads the modules of its first page", () => {
  for (const [name, entry] of Object.entries(DOCUMENTS)) {
    const preloaded = [...read(name).matchAll(/rel="modulepreload" href="\{\{assets\}\}\/([^"]+)"/g)].map(([, module]) => module);
    const needed = imported(entry);
    assert.deepEqual(preloaded.toSorted(), [...needed].toSorted(), name);
    assert.ok(read(name).includes(`src="{{assets}}/${entry}"`), name);
  }
});
