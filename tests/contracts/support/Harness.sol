// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {Accounts} from "../../../contracts/libraries/Accounts.sol";
import {ClaimHash} from "../../../contracts/libraries/ClaimHash.sol";
import {Ids} from "../../../contracts/libraries/Ids.sol";
import {Lines} from "../../../contracts/libraries/Lines.sol";
import {Pricing} from "../../../contracts/libraries/Pricing.sol";
import {ShareTree} from "../../../contracts/libraries/ShareTree.sol";
import {Shares} from "../../../contracts/libraries/Shares.sol";
import {Signatures} from "../../../contracts/libraries/Signatures.sol";
import {StatementHash} from "../../../contracts/libraries/StatementHash.sol";
import {
    Account,
    ClaimAuthorization,
    Line,
    Party,
    ShareProof,
    Split,
    Tariff
} from "../../../contracts/types/Structs.sol";
import {Assets, RateLanes, UsageLanes} from "../../../contracts/types/Units.sol";

/// Opens the internal functions of the libraries to tests.
contract Harness {
    Account public slot;

    function priceDown(RateLanes[2] calldata rates, uint256 unit, UsageLanes[2] calldata usage)
        external
        pure
        returns (uint256)
    {
        return Assets.unwrap(Pricing.priceDown(rates, unit, usage));
    }

    function idOfSplit(Split calldata split) external pure returns (bytes32) {
        return Ids.id(split);
    }

    function idOfTariff(Tariff calldata tariff) external pure returns (bytes32) {
        return Ids.id(tariff);
    }

    function hashStatement(bytes32 tariffId, uint64 sealedAt, Line[] calldata lines)
        external
        pure
        returns (bytes32)
    {
        return StatementHash.hash(tariffId, sealedAt, lines);
    }

    function hashLines(Line[] calldata lines) external pure returns (bytes32) {
        return StatementHash.hashLines(lines);
    }

    function hashClaim(ClaimAuthorization calldata authorization) external pure returns (bytes32) {
        return ClaimHash.hash(authorization);
    }

    function payerOf(Line calldata line) external pure returns (address) {
        return Lines.payerOf(line);
    }

    function root(Party[] calldata parties) external pure returns (bytes32, uint256) {
        return ShareTree.root(parties);
    }

    function leaf(Party calldata party) external pure returns (bytes32) {
        return ShareTree.leaf(party);
    }

    function node(bytes32 left, uint256 leftSum, bytes32 right, uint256 rightSum)
        external
        pure
        returns (bytes32)
    {
        return ShareTree.node(left, leftSum, right, rightSum);
    }

    function climb(Party calldata party, ShareProof calldata proof)
        external
        pure
        returns (bytes32, uint256, uint256)
    {
        return ShareTree.climb(party, proof);
    }

    function loadAccount() external view returns (uint256 word) {
        return Accounts.load(slot);
    }

    function draw(uint256 worth, uint256 sealedAt) external returns (uint256 drawn) {
        return Accounts.draw(slot, Accounts.load(slot), worth, sealedAt * 2 ** 224);
    }

    function storeAccountPlainly(Account calldata account) external {
        slot = account;
    }

    function firstOf(Line[] calldata lines) external pure returns (Line memory) {
        return Lines.first(lines);
    }

    function nextOf(Line[] calldata lines, uint256 index) external pure returns (Line memory) {
        return Lines.next(lines[index]);
    }

    function alone(Line calldata line) external pure returns (Line[] memory) {
        return Lines.alone(line);
    }

    function stakeKey(bytes32 splitId, uint256 offset, address account) external pure returns (bytes32) {
        return Ids.stakeKey(splitId, offset, account);
    }

    function wordsOfSplit(Split calldata split) external pure returns (address) {
        return Ids.assetOf(split);
    }

    function wordsOfTariff(Tariff calldata tariff) external pure returns (address, uint256, uint256) {
        return (Ids.providerOf(tariff), Ids.scaleOf(tariff), Ids.thawPeriodOf(tariff));
    }

    function entitledDown(uint256 pot, uint256 share, Split calldata split) external pure returns (uint256) {
        return Shares.entitledDown(pot, share, split);
    }

    function isBy(address signer, bytes32 digest, bytes calldata signature) external view returns (bool) {
        return Signatures.isBy(signer, digest, signature);
    }

    function isByKey(address signer, bytes32 digest, bytes32 r, bytes32 vs) external pure returns (bool) {
        return Signatures.isByKey(signer, digest, r, vs);
    }
}
