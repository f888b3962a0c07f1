// ethers signs a statement that the contract accepts, and agrees with every digest of the vectors and of the contract.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { TypedDataEncoder, Wallet, concat, hexlify, id, keccak256, toBeHex, zeroPadValue } from "ethers";

import { differences } from "./check-statement.mjs";
import { deploy, startNode } from "./node.mjs";
import { CLAIM_TYPES, STATEMENT_TYPES, packLanes } from "./typed-data.mjs";

const VECTORS = new URL("../../vectors/protocol-v1.json", import.meta.url);

let node, splitter, token, provider, payer, meter, domain, split, splitId, tariff, tariffId, party;

before(async () => {
  node = await startNode();
  provider = node.account(0);
  payer = node.account(1);
  party = node.account(2);
  meter = Wallet.createRandom();
  splitter = (await deploy("SettlementSplitter", provider)).connect(provider);
  token = (await deploy("TestUSD", provider)).connect(payer);
  domain = { name: "Meterbridge", version: "1", chainId: 31337, verifyingContract: await splitter.getAddress() };

  // A split of one party is its own tree.
  const leaf = concat(["0x00", party.address, "0x01", zeroPadValue(toBeHex(1000), 32)]);
  split = { asset: await token.getAddress(), root: keccak256(leaf), totalShares: 1000 };
  splitId = await splitter.splitId(split);
  tariff = {
    provider: provider.address,
    splitId,
    rates: packLanes([3, 0, 0, 15_000_000, 0, 0, 0, 1]),
    scale: 6,
    thawPeriod: 3600,
    terms: id("terms"),
  };
  tariffId = await splitter.tariffId(tariff);
  await sent(splitter.setSigner(meter.address, 2n ** 64n - 1n));
  await sent(token.mint(payer.address, 1_000_000));
  await sent(token.approve(domain.verifyingContract, 1_000_000));
  await sent(splitter.connect(payer).deposit(tariff, split, payer.address, 1_000_000));
});

after(() => node?.stop());

const sent = async (transaction) => (await transaction).wait();
const settle = (s, signature) => splitter.settle(meter.address, signature, s.sealedAt, tariff, s.lines);

const invalidSignature = (error) => splitter.interface.parseError(error.data).name === "InvalidSignature";

async function statement(lanes) {
  const { timestamp } = await node.provider.getBlock("latest");
  const line = { payer: payer.address, usage: packLanes(lanes), head: id("head") };
  return { tariffId, sealedAt: timestamp, lines: [line] };
}

test("a statement signed by ethers settles", async () => {
  const given = await statement([1_000_000, -5, 0, 2_000, 0, 0, 0, -1]);
  assert.equal(await splitter.hashStatement(given), TypedDataEncoder.hash(domain, STATEMENT_TYPES, given));
  await sent(settle(given, await meter.signTypedData(domain, STATEMENT_TYPES, given)));
  // (3 · 1,000,000 + 15,000,000 · 2,000 − 1) / 10^6, rounded down
  const account = await splitter.account(tariffId, payer.address);
  assert.equal(account.settled, 30_002n);
  assert.equal(account.balance, 1_000_000n - 30_002n);
});

test("a statement of a stranger, and one touched after signing, are refused", async () => {
  const given = await statement([5, 0, 0, 0, 0, 0, 0, 0]);
  const stranger = await Wallet.createRandom().signTypedData(domain, STATEMENT_TYPES, given);
  await assert.rejects(settle(given, stranger), invalidSignature);
  const signature = await meter.signTypedData(domain, STATEMENT_TYPES, given);
  given.lines[0].usage[0] += 1n;
  await assert.rejects(settle(given, signature), invalidSignature);
});

test("a claim authorised by ethers is paid to its recipient", async () => {
  await sent(splitter.claimFirst(split, { account: party.address, role: 1, share: 1000 }, { path: 0, hashes: [], sums: [] }));
  const given = await statement([1_000_000, 0, 0, 3_000, 0, 0, 0, 0]);
  await sent(settle(given, await meter.signTypedData(domain, STATEMENT_TYPES, given)));
  const recipient = Wallet.createRandom().address;
  const { timestamp } = await node.provider.getBlock("latest");
  const consent = { splitId, offset: 0, account: party.address, recipient, nonce: 0, deadline: timestamp + 1000 };
  assert.equal(await splitter.hashClaimAuthorization(consent), TypedDataEncoder.hash(domain, CLAIM_TYPES, consent));
  await sent(splitter.claimWithAuthorization(split, consent, await party.signTypedData(domain, CLAIM_TYPES, consent)));
  assert.equal(await token.balanceOf(recipient), 45_003n - 30_002n);
});

test("the domain that the contract serves is the one that is signed", async () => {
  const served = await splitter.eip712Domain();
  const { name, version, chainId, verifyingContract } = served;
  assert.deepEqual({ name, version, chainId: Number(chainId), verifyingContract }, domain);
});

test("ethers agrees with every statement of the vectors, and sees each change", () => {
  const { statements } = JSON.parse(readFileSync(VECTORS, "utf8"));
  assert.equal(statements.length, 10);
  for (const { domain, tariffId, sealedAt, lines, signer, signature, digest } of statements) {
    const plain = lines.map(({ payer, usageWords, head }) => ({ payer, usage: usageWords, head }));
    const given = { domain, statement: { tariffId, sealedAt, lines: plain }, signer, signature, digest };
    assert.deepEqual(differences(given), []);
    const words = lines.map(({ usage }) => packLanes(usage).map(String));
    assert.deepEqual(plain.map(({ usage }) => usage), words);
    const other = { ...given, signer: hexlify(new Uint8Array(20)) };
    assert.equal(differences(other).length, 1);
    const later = { ...given, statement: { ...given.statement, sealedAt: sealedAt + 1 } };
    assert.equal(differences(later).length, 2);
  }
});
