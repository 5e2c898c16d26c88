// Merkle trees of RFC 6962: the root of a list, and the root to which a path from a leaf leads.

import { require, sha256 } from "./bytes.js";

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

export const leafHash = (entry) => sha256(LEAF, entry);
export const nodeHash = (left, right) => sha256(NODE, left, right);

/** Takes leaf hashes one by one and gives the root at the end. It keeps one hash for each level. */
export class Tree {
  size = 0;
  #edge = [];

  add(leaf) {
    let hash = leaf;
    // A complete subtree at the right end is joined with its neighbour of the same size.
    for (let rest = this.size; rest % 2 === 1; rest = Math.floor(rest / 2))
      hash = nodeHash(this.#edge.pop(), hash);
    this.#edge.push(hash);
    this.size++;
  }

  get root() {
    if (!this.size) return sha256(new Uint8Array());
    return this.#edge.reduceRight((right, left) => nodeHash(left, right));
  }
}

/** The root to which an inclusion proof leads from a leaf (RFC 9162, section 2.1.3.2). */
export function rootOfPath(leaf, index, size, path) {
  require(index < size, "index");
  let [node, last, hash, at] = [index, size - 1, leaf, 0];
  for (const sibling of path) {
    require(last > 0, "path_long");
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(sibling, hash);
      while (node % 2 === 0 && node !== 0) [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
    } else hash = nodeHash(hash, sibling);
    [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
    at++;
  }
  require(last === 0 && at === path.length, "path_short");
  return hash;
}
