// An anvil of its own for one test: a free port, stopped by its own process, never by name.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

import { ContractFactory, HDNodeWallet, JsonRpcProvider, NonceManager } from "ethers";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const BUNDLED = join(ROOT, "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
const MNEMONIC = "test test test test test test test test test test test junk";

/** The path of anvil, or undefined. */
export function findAnvil() {
  const onPath = (process.env.PATH ?? "").split(delimiter).filter((folder) => !folder.includes("node_modules"));
  return [...onPath.map((folder) => join(folder, "anvil")), BUNDLED].find(existsSync);
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Starts anvil; returns its provider, funded accounts, and how to stop it. */
export async function startNode() {
  const port = await freePort();
  const child = spawn(findAnvil(), ["--port", String(port), "--hardfork", "cancun", "--quiet"], {
    stdio: "ignore",
    // Nothing of the caller's own Foundry configuration.
    cwd: "/",
  });
  const provider = new JsonRpcProvider(`http://127.0.0.1:${port}`, 31337, {
    staticNetwork: true,
    cacheTimeout: -1,
    pollingInterval: 20,
  });
  const stop = async () => {
    provider.destroy();
    child.kill();
    if (child.exitCode === null) await new Promise((resolve) => child.once("exit", resolve));
  };
  for (let tries = 0; ; ++tries) {
    try {
      await provider.send("eth_chainId", []);
      break;
    } catch (error) {
      if (tries === 100 || child.exitCode !== null) {
        await stop();
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  const account = (index) => HDNodeWallet.fromPhrase(MNEMONIC, undefined, `m/44'/60'/0'/0/${index}`).connect(provider);
  return { provider, account, stop };
}

/** Deploys what forge built last. */
export async function deploy(name, wallet, ...args) {
  const artifact = JSON.parse(readFileSync(join(ROOT, `out/${name}.sol/${name}.json`), "utf8"));
  const factory = new ContractFactory(artifact.abi, artifact.bytecode.object, new NonceManager(wallet));
  const contract = await factory.deploy(...args);
  return contract.waitForDeployment();
}
