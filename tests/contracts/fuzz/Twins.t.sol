// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    Account,
    ClaimAuthorization,
    Line,
    Party,
    ShareProof,
    Split,
    Tariff
} from "../../../contracts/types/Structs.sol";
import {Harness} from "../support/Harness.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";

/// Decodes calldata as the compiler does, and hashes what it decoded.
contract PlainDecoder {
    function idOfSplit(Split calldata split) external pure returns (bytes32) {
        return keccak256(abi.encode(split));
    }

    function idOfTariff(Tariff calldata tariff) external pure returns (bytes32) {
        return keccak256(abi.encode(tariff));
    }

    function hashLines(Line[] calldata lines) external pure returns (bytes32) {
        return Plain.linesHash(lines);
    }
}

/// Each function with assembly beside its plain twin, on random inputs and on inputs at the edges of their types.
contract TwinsTest {
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    Harness internal harness = Harness(vm.deployCode("Harness.sol"));
    PlainDecoder internal decoder = new PlainDecoder();

    /* PRICES */

    function testFuzz_Price(int64[8] memory usage, uint64[8] memory rates, uint8 scale, uint256 edges)
        external
        view
    {
        scale %= 37;
        uint256[8] memory wide;
        for (uint256 i = 0; i < 8; ++i) {
            // Half of the lanes at an edge.
            usage[i] = edgeOfInt64(usage[i], edges >> (8 * i));
            rates[i] = edgeOfUint64(rates[i], edges >> (8 * i + 4));
            wide[i] = rates[i];
        }
        uint256 found = harness.priceDown(Plain.rates(wide), 10 ** scale, Plain.usage(usage));
        vm.assertEq(found, Plain.priceDown(wide, scale, usage));
    }

    /// More of a meter never costs less.
    function testFuzz_PriceIsMonotoneInEachLane(
        int64[8] memory usage,
        uint64[8] memory rates,
        uint8 lane,
        uint64 more
    ) external view {
        uint256[8] memory wide;
        for (uint256 i = 0; i < 8; ++i) {
            wide[i] = rates[i];
        }
        uint256 before = harness.priceDown(Plain.rates(wide), 1e6, Plain.usage(usage));
        int256 raised = int256(usage[lane % 8]) + int256(uint256(more));
        usage[lane % 8] = raised > type(int64).max ? type(int64).max : int64(raised);
        uint256 afterwards = harness.priceDown(Plain.rates(wide), 1e6, Plain.usage(usage));
        vm.assertLe(before, afterwards, "more usage costs less");
    }

    /* IDS */

    function testFuzz_SplitId(Split memory split) external view {
        vm.assertEq(harness.idOfSplit(split), Plain.splitId(split));
    }

    function testFuzz_TariffId(Tariff memory tariff) external view {
        vm.assertEq(harness.idOfTariff(tariff), Plain.tariffId(tariff));
    }

    /// Also of words that no encoder writes: both refuse the same, and else agree.
    function testFuzz_SplitIdOfAnyWords(Split memory split, uint256 dirt) external {
        bytes memory words = abi.encode(split);
        soil(words, dirt);
        agree(harness.idOfSplit.selector, words);
    }

    function testFuzz_TariffIdOfAnyWords(Tariff memory tariff, uint256 dirt) external {
        bytes memory words = abi.encode(tariff);
        soil(words, dirt);
        agree(harness.idOfTariff.selector, words);
    }

    function test_IdsRefuseEachWordBeyondItsType() external {
        Split memory split;
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 bit = 0; bit < 256; ++bit) {
                bytes memory words = abi.encode(split);
                words[32 * i + bit / 8] = bytes1(uint8(1 << (bit % 8)));
                agree(harness.idOfSplit.selector, words);
            }
        }
        Tariff memory tariff;
        for (uint256 i = 0; i < 7; ++i) {
            for (uint256 bit = 0; bit < 256; ++bit) {
                bytes memory words = abi.encode(tariff);
                words[32 * i + bit / 8] = bytes1(uint8(1 << (bit % 8)));
                agree(harness.idOfTariff.selector, words);
            }
        }
    }

    /* STATEMENTS */

    function testFuzz_StatementHash(bytes32 tariffId, uint64 sealedAt, Line[] memory lines) external view {
        vm.assertEq(harness.hashLines(lines), Plain.linesHash(lines));
        vm.assertEq(
            harness.hashStatement(tariffId, sealedAt, lines), Plain.statementHash(tariffId, sealedAt, lines)
        );
    }

    function testFuzz_LinesHashOfAnyWords(Line[] memory lines, uint256 dirt) external {
        bytes memory words = abi.encode(lines);
        if (lines.length != 0) soil(words, dirt | 1);
        agree(harness.hashLines.selector, words);
    }

    function testFuzz_PayerOf(Line memory line) external view {
        vm.assertEq(harness.payerOf(line), line.payer);
    }

    function testFuzz_FirstAndNextLine(Line[] memory lines, uint256 index) external view {
        if (lines.length < 2) return;
        index %= lines.length - 1;
        vm.assertEq(abi.encode(harness.firstOf(lines)), abi.encode(lines[0]));
        vm.assertEq(abi.encode(harness.nextOf(lines, index)), abi.encode(lines[index + 1]));
    }

    function testFuzz_LineAlone(Line memory line) external view {
        Line[] memory lines = new Line[](1);
        lines[0] = line;
        vm.assertEq(abi.encode(harness.alone(line)), abi.encode(lines));
    }

    /// What is read after hashing, word by word.
    function testFuzz_WordsOfSplitAndTariff(Split memory split, Tariff memory tariff) external view {
        vm.assertEq(harness.wordsOfSplit(split), split.asset);
        (address provider, uint256 scale, uint256 thawPeriod) = harness.wordsOfTariff(tariff);
        vm.assertEq(provider, tariff.provider);
        vm.assertEq(scale, tariff.scale);
        vm.assertEq(thawPeriod, tariff.thawPeriod);
    }

    function testFuzz_StakeKey(bytes32 splitId, uint256 offset, address account) external view {
        vm.assertEq(
            harness.stakeKey(splitId, offset, account), keccak256(abi.encode(splitId, offset, account))
        );
    }

    /// Checked arithmetic, at the edges in half of the cases.
    function testFuzz_Entitled(uint128 pot, uint128 share, Split memory split, uint256 edges) external view {
        if (edges % 4 == 0) pot = type(uint128).max;
        if (edges / 4 % 4 == 0) share = type(uint128).max;
        if (edges / 16 % 4 == 0) split.totalShares = type(uint128).max;
        uint256 worth = split.totalShares == 0 ? 0 : uint256(pot) * share / split.totalShares;
        vm.assertEq(harness.entitledDown(pot, share, split), worth);
    }

    /// A signature of a key in its three forms, and each of them touched anywhere.
    function testFuzz_Signatures(uint256 key, bytes32 digest, uint256 where) external view {
        key = 1 + key % (ORDER - 1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        bytes32 vs = bytes32(uint256(s) | uint256(v - 27) << 255);
        (address signer, bytes memory long, bytes memory short) =
            (vm.addr(key), abi.encodePacked(r, s, v), abi.encodePacked(r, vs));
        vm.assertTrue(harness.isBy(signer, digest, long));
        vm.assertTrue(harness.isBy(signer, digest, short));
        vm.assertTrue(harness.isByKey(signer, digest, r, vs));
        vm.assertFalse(harness.isBy(signer, digest, abi.encodePacked(short, uint8(0))));
        vm.assertFalse(harness.isBy(signer, ~digest, short));
        vm.assertFalse(harness.isBy(address(uint160(signer) ^ 1), digest, short));
        // The other s, with the other v, in both forms.
        bytes32 high = bytes32(ORDER - uint256(s));
        vm.assertFalse(harness.isBy(signer, digest, abi.encodePacked(r, high, 55 - v)));
        vm.assertFalse(harness.isByKey(signer, digest, r, bytes32(uint256(high) | uint256(28 - v) << 255)));
        bytes1 bit = bytes1(uint8(1 << (where >> 8) % 8));
        long[where % 65] ^= bit;
        short[where % 64] ^= bit;
        vm.assertFalse(harness.isBy(signer, digest, long));
        vm.assertFalse(harness.isBy(signer, digest, short));
    }

    function testFuzz_ClaimHash(ClaimAuthorization memory authorization) external view {
        vm.assertEq(harness.hashClaim(authorization), Plain.claimHash(authorization));
    }

    /* ACCOUNTS */

    function testFuzz_AccountsAreReadAsTheCompilerStoresThem(Account memory account) external {
        harness.storeAccountPlainly(account);
        uint256 word = harness.loadAccount();
        vm.assertEq(
            word,
            uint256(account.balance) + uint256(account.settled) * 2 ** 112 + uint256(account.sealedAt) * 2
                ** 224
        );
    }

    /// Any account whose balance and settled fit uint112 together, any price, any time.
    function testFuzz_Draw(Account memory account, uint256 worth, uint32 sealedAt, uint256 kind) external {
        account.settled = uint112(account.settled % (uint256(type(uint112).max) - account.balance + 1));
        // Around settled and around settled + balance in two cases out of four; up to 256 bits in one.
        if (kind % 4 == 0) worth = account.settled + worth % 3 - (account.settled == 0 ? 0 : 1);
        if (kind % 4 == 1) worth = uint256(account.settled) + account.balance + worth % 3;
        if (kind % 4 == 2) worth %= 1 << 128;
        harness.storeAccountPlainly(account);
        uint256 drawn = harness.draw(worth, sealedAt);

        uint256 due = worth > account.settled ? worth - account.settled : 0;
        uint256 expected = due < account.balance ? due : account.balance;
        vm.assertEq(drawn, expected);
        (uint112 balance, uint112 settled, uint32 newest) = harness.slot();
        vm.assertEq(
            abi.encode(balance, settled, newest),
            abi.encode(account.balance - expected, account.settled + expected, sealedAt)
        );
    }

    /* TREES */

    function testFuzz_Node(bytes32 left, uint256 leftSum, bytes32 right, uint256 rightSum) external view {
        vm.assertEq(harness.node(left, leftSum, right, rightSum), Plain.node(left, leftSum, right, rightSum));
    }

    function testFuzz_Leaf(Party memory party) external view {
        vm.assume(party.share != 0 && party.role != 0);
        vm.assertEq(harness.leaf(party), Plain.leaf(party));
    }

    /// Every party of every tree climbs to the root, and the intervals follow each other without gap or overlap.
    function testFuzz_Trees(uint256 size, uint256 seed) external view {
        Party[] memory parties = partiesOf(1 + size % 40, seed);
        (bytes32 hash, uint256 sum) = Plain.tree(parties, 0, parties.length);
        (bytes32 found, uint256 total) = harness.root(parties);
        vm.assertEq(found, hash);
        vm.assertEq(total, sum);

        uint256 expected = 0;
        for (uint256 i = 0; i < parties.length; ++i) {
            (ShareProof memory proof,) = Plain.proof(parties, i);
            (bytes32 top, uint256 topSum, uint256 offset) = harness.climb(parties[i], proof);
            vm.assertEq(top, hash);
            vm.assertEq(topSum, sum);
            vm.assertEq(offset, expected, "offset");
            expected += parties[i].share;
        }
        vm.assertEq(expected, sum);
    }

    /// Whatever is changed in a proof, or in the party, leads elsewhere or nowhere.
    function testFuzz_ATouchedProofLeadsElsewhere(uint256 size, uint256 seed, uint256 what) external view {
        Party[] memory parties = partiesOf(2 + size % 20, seed);
        uint256 i = seed % parties.length;
        (ShareProof memory proof, uint256 offset) = Plain.proof(parties, i);
        (bytes32 root,) = harness.root(parties);
        Party memory party = parties[i];
        uint256 level = (what >> 8) % proof.hashes.length;
        if (what % 6 == 0) party.account = address(uint160(party.account) ^ 1);
        if (what % 6 == 1) party.role = party.role == 1 ? 2 : 1;
        if (what % 6 == 2) party.share += 1;
        if (what % 6 == 3) proof.hashes[level] ^= bytes32(uint256(1));
        if (what % 6 == 4) proof.sums[level] += 1;
        if (what % 6 == 5) proof.path ^= 1 << level;
        try harness.climb(party, proof) returns (bytes32 top, uint256, uint256 found) {
            // Two equal siblings may change sides.
            bool same = top == root;
            vm.assertTrue(!same || (what % 6 == 5 && found != offset), "touched, and still at the root");
            if (same) vm.assertTrue(false, "a leaf at two places");
        } catch {}
    }

    /* HELPERS */

    function partiesOf(uint256 size, uint256 seed) internal pure returns (Party[] memory parties) {
        parties = new Party[](size);
        for (uint256 i = 0; i < size; ++i) {
            uint256 draw = uint256(keccak256(abi.encode(seed, i)));
            uint128 share = uint128(draw >> 160) >> uint8(draw % 90);
            parties[i] = Party(address(uint160(draw)), uint8(1 + (draw >> 8) % 255), share == 0 ? 1 : share);
        }
    }

    function edgeOfInt64(int64 value, uint256 which) internal pure returns (int64) {
        if (which % 16 == 0) return type(int64).max;
        if (which % 16 == 1) return type(int64).min;
        if (which % 16 == 2) return -1;
        if (which % 16 < 8) return 0;
        return value;
    }

    function edgeOfUint64(uint64 value, uint256 which) internal pure returns (uint64) {
        if (which % 16 < 4) return type(uint64).max;
        if (which % 16 < 8) return 0;
        return value;
    }

    /// Sets one bit anywhere, in three cases out of four.
    function soil(bytes memory words, uint256 dirt) internal pure {
        uint256 place = (dirt >> 16) % words.length;
        if (dirt % 4 != 0) words[place] |= bytes1(uint8(1 << ((dirt >> 8) % 8)));
    }

    function agree(bytes4 selector, bytes memory words) internal {
        (bool success, bytes memory result) = address(harness).call(bytes.concat(selector, words));
        (bool plain, bytes memory expected) = address(decoder).call(bytes.concat(selector, words));
        vm.assertEq(success, plain);
        vm.assertEq(result, expected);
    }
}
