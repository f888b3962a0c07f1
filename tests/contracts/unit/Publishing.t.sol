// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {Party, Split, Tariff} from "../../../contracts/types/Structs.sol";
import {Base} from "../support/Base.sol";
import {vm} from "../support/Vm.sol";

contract PublishingTest is Base {
    function test_PublishSplit_EmitsThePartiesOfTheRoot() external {
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.SplitPublished(splitKey(), split, parties);
        splitter.publishSplit(split, parties);
    }

    function test_PublishSplit_RefusesOtherParties() external {
        Party[] memory wrong = parties;
        (wrong[0].share, wrong[1].share) = (wrong[0].share + 1, wrong[1].share - 1);
        bytes32 found = splitOf(address(usd), wrong).root;
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.RootMismatch.selector, split.root, found));
        splitter.publishSplit(split, wrong);
    }

    function test_PublishSplit_RefusesAnotherOrder() external {
        Party[] memory wrong = parties;
        (wrong[0], wrong[1]) = (wrong[1], wrong[0]);
        vm.expectPartialRevert(ISettlementSplitter.RootMismatch.selector);
        splitter.publishSplit(split, wrong);
    }

    function test_PublishSplit_RefusesAnotherTotal() external {
        Split memory wrong = split;
        wrong.totalShares = 1001;
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.TotalSharesMismatch.selector, 1001, 1000));
        splitter.publishSplit(wrong, parties);
    }

    function test_PublishSplit_RefusesZeroShares() external {
        Party[] memory wrong = parties;
        wrong[1].share = 0;
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ZeroShare.selector, wrong[1].account));
        splitter.publishSplit(split, wrong);
    }

    function test_PublishSplit_RefusesZeroRoles() external {
        Party[] memory wrong = parties;
        wrong[2].role = 0;
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ZeroRole.selector, wrong[2].account));
        splitter.publishSplit(split, wrong);
    }

    function test_PublishSplit_RefusesNoParties() external {
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.NoParties.selector));
        splitter.publishSplit(split, new Party[](0));
    }

    function test_PublishSplit_RefusesSharesBeyondUint128() external {
        Party[] memory wrong = parties;
        wrong[0].share = type(uint128).max - 349;
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.ShareSumTooLarge.selector, 1 << 128, type(uint128).max)
        );
        splitter.publishSplit(split, wrong);
    }

    function test_PublishSplit_AcceptsSharesUpToUint128() external {
        Party[] memory whole = parties;
        whole[0].share = type(uint128).max - 500;
        Split memory target = splitOf(address(usd), whole);
        vm.assertEq(uint256(target.totalShares), type(uint128).max);
        splitter.publishSplit(target, whole);
    }

    function test_AnnounceSplit_EmitsTheUri() external {
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.SplitAnnounced(splitKey(), split, "ipfs://parties");
        splitter.announceSplit(split, "ipfs://parties");
    }

    function test_PublishTariff_EmitsTheDocumentOfTheTerms() external {
        vm.expectEmit(address(splitter));
        emit ISettlementSplitter.TariffPublished(id(), tariff, "terms");
        splitter.publishTariff(tariff, "terms");
    }

    function test_PublishTariff_RefusesAnotherDocument() external {
        vm.expectRevert(
            abi.encodeWithSelector(
                ISettlementSplitter.TermsMismatch.selector, tariff.terms, keccak256("other terms")
            )
        );
        splitter.publishTariff(tariff, "other terms");
    }

    function test_PublishTariff_HoldsScaleAndThawPeriodToTheirBounds() external {
        Tariff memory edge = tariff;
        (edge.scale, edge.thawPeriod) = (36, 90 days);
        splitter.publishTariff(edge, "terms");

        edge.scale = 37;
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ScaleTooLarge.selector, 37, 36));
        splitter.publishTariff(edge, "terms");

        (edge.scale, edge.thawPeriod) = (36, 90 days + 1);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlementSplitter.ThawPeriodTooLong.selector, 90 days + 1, 90 days)
        );
        splitter.publishTariff(edge, "terms");
    }
}
