// Compiles changed contracts, one request a line on stdin, one answer a line on stdout. The compiler stays loaded: what
// forge spends on starting it for each mutant is longer than what it takes to compile one.
//
//   node compiler.mjs FOLDER   the folder has contracts/, tests/contracts/ and node_modules/
//
// A request: {"texts": {path: text}, "wanted": {path: contract name}, "settings": {...}}; `texts` stand in place of files.
// An answer: {"errors": [...], "code": {contract name: {"bytecode": "0x...", "deployedBytecode": "0x..."}}}
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const folder = resolve(process.argv[2]);
const solc = createRequire(join(folder, "package.json"))("solc");
const kept = new Map();

function textOf(path, texts) {
  if (path in texts) return texts[path];
  if (!kept.has(path)) kept.set(path, readFileSync(join(folder, path.replace(/^@/, "node_modules/@")), "utf8"));
  return kept.get(path);
}

function collect(path, texts, sources) {
  if (path in sources) return;
  const content = textOf(path, texts);
  sources[path] = { content };
  for (const [, imported] of content.matchAll(/^(?:import|\}).*?"([^"]+)";/gm)) {
    collect(imported.startsWith(".") ? new URL(imported, `file:///${path}`).pathname.slice(1) : imported, texts, sources);
  }
}

function answer({ texts, wanted, settings }) {
  const sources = {};
  for (const path of Object.keys(wanted)) collect(path, texts, sources);
  const outputs = ["evm.bytecode.object", "evm.deployedBytecode.object"];
  const outputSelection = Object.fromEntries(Object.entries(wanted).map(([path, name]) => [path, { [name]: outputs }]));
  const input = { language: "Solidity", sources, settings: { ...settings, outputSelection } };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const errors = (output.errors ?? []).filter((e) => e.severity === "error").map((e) => e.formattedMessage ?? e.message);
  if (errors.length) return { errors, code: {} };
  const codeOf = ({ evm }) => ({ bytecode: `0x${evm.bytecode.object}`, deployedBytecode: `0x${evm.deployedBytecode.object}` });
  const code = Object.entries(wanted).map(([path, name]) => [name, codeOf(output.contracts[path][name])]);
  return { errors, code: Object.fromEntries(code) };
}

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    said = answer(JSON.parse(line));
  } catch (error) {
    said = { failure: String(error.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
