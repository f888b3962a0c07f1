// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {TestUSD} from "../../../contracts/mocks/TestUSD.sol";
import {Line, Party, ShareProof, Split, Statement, Tariff} from "../../../contracts/types/Structs.sol";
import {Assets, RateLanes, UsageLanes} from "../../../contracts/types/Units.sol";
import {Harness} from "../support/Harness.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";

/// Every case of the protocol's vectors that concerns the chain, run through the contract and its libraries.
contract VectorsTest {
    Harness internal harness = Harness(vm.deployCode("Harness.sol"));
    ISettlementSplitter internal splitter = ISettlementSplitter(vm.deployCode("SettlementSplitter.sol"));

    /* SPLITS */

    function test_Splits_HashToTheirIdsAndRoots() external {
        string memory json = vm.readFile("tests/vectors/protocol-v1.json");
        uint256 count = length(json, ".splits");
        vm.assertEq(count, 5);
        for (uint256 i = 0; i < count; ++i) {
            string memory key = element(".splits", i);
            Split memory split = readSplit(json, key);
            vm.assertEq(splitter.splitId(split), vm.parseJsonBytes32(json, string.concat(key, ".splitId")));
            // Reverts unless the parties lead to the root and to the total.
            splitter.publishSplit(split, readParties(json, key));
        }
    }

    function test_Parties_ClimbToTheRootAtTheirOffsets() external view {
        string memory json = vm.readFile("tests/vectors/protocol-v1.json");
        for (uint256 i = 0; i < length(json, ".splits"); ++i) {
            string memory key = element(".splits", i);
            Split memory split = readSplit(json, key);
            for (uint256 p = 0; p < length(json, string.concat(key, ".parties")); ++p) {
                string memory member = element(string.concat(key, ".parties"), p);
                Party memory party = readParty(json, member);
                vm.assertEq(harness.leaf(party), readBytes32(json, member, ".leaf"));
                (bytes32 root, uint256 total, uint256 offset) = harness.climb(party, readProof(json, member));
                vm.assertEq(root, split.root);
                vm.assertEq(total, split.totalShares);
                vm.assertEq(offset, readUint(json, member, ".offset"));
            }
        }
    }

    function test_Entitlements_OfEachPot() external {
        string memory json = vm.readFile("tests/vectors/protocol-v1.json");
        bytes memory token = address(new TestUSD()).code;
        for (uint256 i = 0; i < length(json, ".splits"); ++i) {
            string memory key = element(".splits", i);
            Split memory split = readSplit(json, key);
            vm.etch(split.asset, token);
            for (uint256 e = 0; e < length(json, string.concat(key, ".entitlements")); ++e) {
                string memory row = element(string.concat(key, ".entitlements"), e);
                fillPot(split, readUint(json, row, ".pot"));
                uint256[] memory each = vm.parseJsonUintArray(json, string.concat(row, ".each"));
                for (uint256 p = 0; p < each.length; ++p) {
                    Party memory party = readParty(json, element(string.concat(key, ".parties"), p));
                    vm.assertEq(Assets.unwrap(splitter.entitled(split, party.share)), each[p]);
                }
            }
        }
    }

    /* TARIFFS */

    function test_Tariffs_HashToTheirIdsAndPrice() external view {
        string memory json = vm.readFile("tests/vectors/protocol-v1.json");
        uint256 count = length(json, ".tariffs");
        vm.assertEq(count, 5);
        for (uint256 i = 0; i < count; ++i) {
            string memory key = element(".tariffs", i);
            Tariff memory tariff = readTariff(json, key);
            vm.assertEq(splitter.tariffId(tariff), readBytes32(json, key, ".tariffId"));
            uint256[] memory words = vm.parseJsonUintArray(json, string.concat(key, ".rateWords"));
            vm.assertEq(RateLanes.unwrap(tariff.rates[0]), words[0]);
            vm.assertEq(RateLanes.unwrap(tariff.rates[1]), words[1]);
            for (uint256 p = 0; p < length(json, string.concat(key, ".prices")); ++p) {
                string memory row = element(string.concat(key, ".prices"), p);
                uint256 found = Assets.unwrap(splitter.price(tariff, readUsage(json, row)));
                vm.assertEq(found, readUint(json, row, ".price"));
            }
        }
    }

    /* STATEMENTS */

    function test_Statements_HashToTheirDigestsAndSettle() external {
        string memory json = vm.readFile("tests/vectors/protocol-v1.json");
        uint256 count = length(json, ".statements");
        vm.assertEq(count, 10);
        for (uint256 i = 0; i < count; ++i) {
            string memory key = element(".statements", i);
            ISettlementSplitter placed = place(json, key);
            Statement memory statement = readStatement(json, key);
            vm.assertEq(placed.hashStatement(statement), readBytes32(json, key, ".digest"));

            Tariff memory tariff = tariffWith(json, statement.tariffId);
            address signer = vm.parseJsonAddress(json, string.concat(key, ".signer"));
            bytes memory signature = vm.parseJsonBytes(json, string.concat(key, ".signature"));
            vm.prank(tariff.provider);
            placed.setSigner(signer, statement.sealedAt);
            vm.warp(statement.sealedAt);
            placed.settle(signer, signature, statement.sealedAt, tariff, statement.lines);
            address payer = statement.lines[0].payer;
            vm.assertEq(
                uint256(placed.account(statement.tariffId, payer).sealedAt), uint256(statement.sealedAt)
            );

            statement.lines[0].head ^= bytes32(uint256(1));
            vm.expectPartialRevert(ISettlementSplitter.InvalidSignature.selector);
            placed.settle(signer, signature, statement.sealedAt, tariff, statement.lines);
        }
    }

    /* REFUSED */

    /// Every rule under `refused` is either tested here or named as one that no input of the contract can break.
    function test_Refused_EveryRuleOfTheChain() external {
        string memory json = vm.readFile("tests/vectors/protocol-v1.json");
        uint256 tested = 0;
        uint256 count = length(json, ".refused");
        for (uint256 i = 0; i < count; ++i) {
            string memory key = element(".refused", i);
            string memory rule = vm.parseJsonString(json, string.concat(key, ".rule"));
            if (refuse(json, key, keccak256(bytes(rule)))) ++tested;
            else vm.assertTrue(isOffChain(keccak256(bytes(rule))), string.concat("unknown rule: ", rule));
        }
        vm.assertEq(count, 14);
        vm.assertEq(tested, 7);
    }

    function refuse(string memory json, string memory key, bytes32 rule) internal returns (bool) {
        Split memory split;
        if (rule == keccak256("share zero")) {
            vm.expectPartialRevert(ISettlementSplitter.ZeroShare.selector);
            splitter.publishSplit(split, readParties(json, key));
        } else if (rule == keccak256("share sum beyond uint128")) {
            vm.expectPartialRevert(ISettlementSplitter.ShareSumTooLarge.selector);
            splitter.publishSplit(split, readParties(json, key));
        } else if (rule == keccak256("role zero")) {
            vm.expectPartialRevert(ISettlementSplitter.ZeroRole.selector);
            splitter.publishSplit(split, readParties(json, key));
        } else if (rule == keccak256("split without parties")) {
            vm.expectPartialRevert(ISettlementSplitter.NoParties.selector);
            splitter.publishSplit(split, new Party[](0));
        } else if (rule == keccak256("scale above 36")) {
            refuseTariff(
                readTariff(json, string.concat(key, ".tariff")), ISettlementSplitter.ScaleTooLarge.selector
            );
        } else if (rule == keccak256("thaw period above 90 days")) {
            refuseTariff(
                readTariff(json, string.concat(key, ".tariff")),
                ISettlementSplitter.ThawPeriodTooLong.selector
            );
        } else if (rule == keccak256("rate beyond 64 bits")) {
            // Such a rate has no encoding: a lane of the contract's calldata is 64 bits wide.
            vm.expectRevert(abi.encodeWithSelector(Plain.LaneTooLarge.selector, 1 << 64));
            this.readTariff(json, string.concat(key, ".tariff"));
        } else {
            return false;
        }
        return true;
    }

    /// At settlement, at deposit, at publication and in the price.
    function refuseTariff(Tariff memory tariff, bytes4 expected) internal {
        Split memory split;
        Line[] memory none = new Line[](0);
        vm.expectPartialRevert(expected);
        splitter.settle(address(1), "", 1, tariff, none);
        vm.expectPartialRevert(expected);
        splitter.deposit(tariff, split, address(1), Assets.wrap(1));
        vm.expectPartialRevert(expected);
        splitter.publishTariff(tariff, "");
        vm.expectPartialRevert(expected);
        splitter.price(tariff, Plain.usage([int64(1), 1, 1, 1, 1, 1, 1, 1]));
    }

    /// Receipts, batches and the sums of logs never reach the chain.
    function isOffChain(bytes32 rule) internal pure returns (bool) {
        return rule == keccak256("receipt lane negative") || rule == keccak256("receipt lane at 2^53")
            || rule == keccak256("receipt time beyond 48 bits") || rule == keccak256("batch unsorted")
            || rule == keccak256("batch with the same id twice") || rule == keccak256("batch empty")
            || rule == keccak256("lane sum beyond int64");
    }

    /* READING */

    /// Runs the constructor at the address and on the chain that a statement names.
    function place(string memory json, string memory key) internal returns (ISettlementSplitter) {
        address where = vm.parseJsonAddress(json, string.concat(key, ".domain.verifyingContract"));
        vm.chainId(readUint(json, key, ".domain.chainId"));
        vm.etch(where, vm.getCode("SettlementSplitter.sol"));
        (bool success, bytes memory runtime) = where.call("");
        vm.assertTrue(success);
        vm.etch(where, runtime);
        return ISettlementSplitter(where);
    }

    function fillPot(Split memory split, uint256 wanted) internal {
        uint256 missing = wanted - Assets.unwrap(splitter.pot(splitter.splitId(split)));
        if (missing == 0) return;
        TestUSD(split.asset).mint(address(this), missing);
        TestUSD(split.asset).approve(address(splitter), missing);
        splitter.fund(split, Assets.wrap(missing));
    }

    function tariffWith(string memory json, bytes32 id) internal view returns (Tariff memory) {
        for (uint256 i = 0; i < length(json, ".tariffs"); ++i) {
            Tariff memory tariff = readTariff(json, element(".tariffs", i));
            if (Plain.tariffId(tariff) == id) return tariff;
        }
        revert("no tariff of this id");
    }

    function readSplit(string memory json, string memory key) internal pure returns (Split memory) {
        return Split(
            vm.parseJsonAddress(json, string.concat(key, ".asset")),
            readBytes32(json, key, ".root"),
            uint128(readUint(json, key, ".totalShares"))
        );
    }

    function readParties(string memory json, string memory key)
        internal
        view
        returns (Party[] memory parties)
    {
        string memory list = string.concat(key, ".parties");
        parties = new Party[](length(json, list));
        for (uint256 i = 0; i < parties.length; ++i) {
            parties[i] = readParty(json, element(list, i));
        }
    }

    function readParty(string memory json, string memory key) internal pure returns (Party memory) {
        address account = vm.parseJsonAddress(json, string.concat(key, ".account"));
        return Party(account, uint8(readUint(json, key, ".role")), uint128(readUint(json, key, ".share")));
    }

    function readProof(string memory json, string memory key)
        internal
        view
        returns (ShareProof memory proof)
    {
        string memory list = string.concat(key, ".siblings");
        uint256 height = length(json, list);
        proof.hashes = new bytes32[](height);
        proof.sums = new uint128[](height);
        for (uint256 i = 0; i < height; ++i) {
            string memory sibling = element(list, i);
            proof.hashes[i] = readBytes32(json, sibling, ".root");
            proof.sums[i] = uint128(readUint(json, sibling, ".sum"));
            string memory side = vm.parseJsonString(json, string.concat(sibling, ".side"));
            if (keccak256(bytes(side)) == keccak256("left")) proof.path |= 1 << i;
        }
    }

    function readTariff(string memory json, string memory key) public pure returns (Tariff memory tariff) {
        uint256[] memory given = vm.parseJsonUintArray(json, string.concat(key, ".rates"));
        uint256[8] memory lanes;
        for (uint256 i = 0; i < 8; ++i) {
            lanes[i] = given[i];
        }
        tariff.provider = vm.parseJsonAddress(json, string.concat(key, ".provider"));
        tariff.splitId = readBytes32(json, key, ".splitId");
        tariff.rates = Plain.rates(lanes);
        tariff.scale = uint8(readUint(json, key, ".scale"));
        tariff.thawPeriod = uint32(readUint(json, key, ".thawPeriod"));
        tariff.terms = readBytes32(json, key, ".terms");
    }

    function readStatement(string memory json, string memory key)
        internal
        view
        returns (Statement memory statement)
    {
        string memory list = string.concat(key, ".lines");
        statement.tariffId = readBytes32(json, key, ".tariffId");
        statement.sealedAt = uint64(readUint(json, key, ".sealedAt"));
        statement.lines = new Line[](length(json, list));
        for (uint256 i = 0; i < statement.lines.length; ++i) {
            string memory row = element(list, i);
            address payer = vm.parseJsonAddress(json, string.concat(row, ".payer"));
            statement.lines[i] = Line(payer, readUsage(json, row), readBytes32(json, row, ".head"));
            uint256[] memory words = vm.parseJsonUintArray(json, string.concat(row, ".usageWords"));
            vm.assertEq(UsageLanes.unwrap(statement.lines[i].usage[0]), words[0]);
            vm.assertEq(UsageLanes.unwrap(statement.lines[i].usage[1]), words[1]);
        }
    }

    function readUsage(string memory json, string memory key) internal pure returns (UsageLanes[2] memory) {
        int256[] memory given = vm.parseJsonIntArray(json, string.concat(key, ".usage"));
        int64[8] memory lanes;
        for (uint256 i = 0; i < 8; ++i) {
            lanes[i] = int64(given[i]);
        }
        return Plain.usage(lanes);
    }

    function readUint(string memory json, string memory key, string memory field)
        internal
        pure
        returns (uint256)
    {
        return vm.parseJsonUint(json, string.concat(key, field));
    }

    function readBytes32(string memory json, string memory key, string memory field)
        internal
        pure
        returns (bytes32)
    {
        return vm.parseJsonBytes32(json, string.concat(key, field));
    }

    function element(string memory list, uint256 i) internal pure returns (string memory) {
        return string.concat(list, "[", vm.toString(i), "]");
    }

    function length(string memory json, string memory list) internal view returns (uint256 count) {
        while (vm.keyExistsJson(json, element(list, count))) ++count;
    }
}
