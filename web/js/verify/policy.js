// Witness policies (C2SP tlog-policy): which witnesses there are, and how many of them must have cosigned.

import { decimal, require, utf8 } from "./bytes.js";
import { COSIGNATURE, openCosignatures, parseVkey } from "./notes.js";

const MOST_BYTES = 65_536;
const MOST_MEMBERS = 128;

/** `{members, quorum}`: a member is a key, or a group with a threshold. */
export function parsePolicy(text) {
  require(utf8(text).length <= MOST_BYTES, "policy");
  const members = new Map();
  let quorum = null;
  for (const line of text.split("\n")) {
    const [word, name, ...rest] = line.trim().split(/\s+/);
    if (!word || word.startsWith("#") || word === "log") continue;
    if (word === "quorum") quorum = name;
    else {
      require((word === "witness" || word === "group") && name && rest.length > 0 && !members.has(name), "policy");
      require(members.size < MOST_MEMBERS, "policy");
      if (word === "witness") members.set(name, { key: parseVkey(rest[0], COSIGNATURE) });
      else {
        const [threshold, ...names] = rest;
        require(names.every((one) => members.has(one)), "policy");
        const least = { any: 1, all: names.length }[threshold] ?? decimal(threshold);
        require(least >= 1 && least <= names.length, "policy");
        members.set(name, { least, names });
      }
    }
  }
  require(quorum === "none" || members.has(quorum), "policy");
  return { members, quorum };
}

/** How many witnesses a quorum is chosen from. A policy without a quorum asks for none. */
export const witnessCount = ({ members, quorum }) =>
  quorum === "none" ? 0 : [...members.values()].filter(({ key }) => key).length;

/** Whether enough witnesses have cosigned a note before a time. A wrong cosignature is refused. */
export async function hasQuorum(note, { members, quorum }, before) {
  const signed = new Set();
  for (const [name, { key }] of members) {
    if (!key) continue;
    const times = await openCosignatures(note, key);
    if (times.length && Math.min(...times) < before) signed.add(name);
  }
  const witnessed = (name) => {
    const { key, least, names } = members.get(name);
    return key ? signed.has(name) : names.filter(witnessed).length >= least;
  };
  return quorum === "none" || witnessed(quorum);
}
