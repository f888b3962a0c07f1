// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlementSplitter} from "../../../contracts/interfaces/ISettlementSplitter.sol";
import {
    Account,
    ClaimAuthorization,
    Line,
    Split,
    Stake,
    Statement,
    Thaw
} from "../../../contracts/types/Structs.sol";
import {Assets} from "../../../contracts/types/Units.sol";
import {Base} from "../support/Base.sol";
import {Plain} from "../support/Plain.sol";
import {vm} from "../support/Vm.sol";

contract ViewsTest is Base {
    function test_Unknown_ReadsAsNothing() external view {
        Account memory account = splitter.account(bytes32(0), payer);
        vm.assertEq(abi.encode(account), abi.encode(0, 0, 0));
        Thaw memory thawing = splitter.thawing(bytes32(0), payer);
        vm.assertEq(abi.encode(thawing), abi.encode(0, 0));
        Stake memory stake = splitter.stake(bytes32(0), 0, payer);
        vm.assertEq(abi.encode(stake), abi.encode(0, 0));
        vm.assertEq(Assets.unwrap(splitter.pot(bytes32(0))), 0);
        vm.assertEq(splitter.nonces(payer), 0);
        vm.assertEq(Assets.unwrap(splitter.secured(tariff, payer, block.timestamp)), 0);
        vm.assertEq(Assets.unwrap(splitter.claimable(split, 0, payer)), 0);
    }

    function test_Ids_AreTheHashesOfTheirEncodings() external view {
        vm.assertEq(splitter.tariffId(tariff), keccak256(abi.encode(tariff)));
        vm.assertEq(splitter.splitId(split), keccak256(abi.encode(split)));
    }

    function test_Entitled_GrowsWithThePotAndRoundsDown() external {
        vm.assertEq(Assets.unwrap(splitter.entitled(split, 350)), 0);
        fund(999);
        vm.assertEq(Assets.unwrap(splitter.entitled(split, 350)), 349);
        vm.assertEq(Assets.unwrap(splitter.entitled(split, 1)), 0);
        vm.assertEq(Assets.unwrap(splitter.entitled(split, 1000)), 999);
        claimFirst(1);
        vm.assertEq(Assets.unwrap(splitter.entitled(split, 350)), 349);
    }

    function test_Entitled_AtTheEdgesOfUint128() external {
        fund(type(uint128).max);
        vm.assertEq(Assets.unwrap(splitter.entitled(split, type(uint128).max)), edge());
    }

    function edge() internal pure returns (uint256) {
        return uint256(type(uint128).max) * type(uint128).max / 1000;
    }

    function test_Entitled_OfASplitWithoutSharesIsRefused() external {
        split.totalShares = 0;
        vm.expectRevert(abi.encodeWithSelector(ISettlementSplitter.ZeroTotalShares.selector));
        splitter.entitled(split, 1);
    }

    function test_Claimable_IsWhatAClaimWouldPay() external {
        fund(1000);
        vm.assertEq(Assets.unwrap(splitter.claimable(split, 500, parties[1].account)), 0);
        claimFirst(1);
        vm.assertEq(Assets.unwrap(splitter.claimable(split, 500, parties[1].account)), 0);
        fund(1000);
        vm.assertEq(Assets.unwrap(splitter.claimable(split, 500, parties[1].account)), 350);
        vm.assertEq(Assets.unwrap(splitter.claim(500, parties[1].account, split)), 350);
        vm.assertEq(Assets.unwrap(splitter.claimable(split, 500, parties[1].account)), 0);
    }

    function test_Claimable_OfASingleShare() external {
        parties[2].share = 1;
        split = splitOf(address(usd), parties);
        fund(851);
        vm.assertEq(claimFirst(2), 1);
        fund(2 * 851);
        vm.assertEq(Assets.unwrap(splitter.claimable(split, 850, parties[2].account)), 2);
    }

    function test_Domain_IsServed() external view {
        (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        ) = splitter.eip712Domain();
        vm.assertEq(bytes32(fields), bytes32(hex"0f"));
        vm.assertEq(name, "Meterbridge");
        vm.assertEq(version, "1");
        vm.assertEq(chainId, block.chainid);
        vm.assertEq(verifyingContract, address(splitter));
        vm.assertEq(salt, bytes32(0));
        vm.assertEq(extensions.length, 0);
    }

    /// forge's own encoder of typed data, given the types as JSON, agrees with both digests.
    function test_Digests_AgreeWithForgesTypedData() external view {
        Line[] memory lines = new Line[](2);
        (lines[0], lines[1]) = (lineOf(payer, -5), lineOf(other, type(int64).max));
        Statement memory statement = Statement(id(), now64(), lines);
        string memory types =
            '"Statement":[{"name":"tariffId","type":"bytes32"},{"name":"sealedAt","type":"uint64"},{"name":"lines","type":"Line[]"}],"Line":[{"name":"payer","type":"address"},{"name":"usage","type":"uint256[2]"},{"name":"head","type":"bytes32"}]';
        string memory message = string.concat(
            '{"tariffId":"',
            vm.toString(id()),
            '","sealedAt":"',
            vm.toString(uint256(now64())),
            '","lines":[',
            json(lines[0]),
            ",",
            json(lines[1]),
            "]}"
        );
        vm.assertEq(splitter.hashStatement(statement), typed("Statement", types, message));

        types =
            '"ClaimAuthorization":[{"name":"splitId","type":"bytes32"},{"name":"offset","type":"uint256"},{"name":"account","type":"address"},{"name":"recipient","type":"address"},{"name":"nonce","type":"uint256"},{"name":"deadline","type":"uint256"}]';
        message = string.concat(
            '{"splitId":"',
            vm.toString(splitKey()),
            '","offset":"500","account":"',
            vm.toString(payer),
            '","recipient":"',
            vm.toString(other),
            '","nonce":"3","deadline":"9"}'
        );
        ClaimAuthorization memory consent = ClaimAuthorization(splitKey(), 500, payer, other, 3, 9);
        vm.assertEq(splitter.hashClaimAuthorization(consent), typed("ClaimAuthorization", types, message));
    }

    function typed(string memory primary, string memory types, string memory message)
        internal
        view
        returns (bytes32)
    {
        string memory domainType =
            '"EIP712Domain":[{"name":"name","type":"string"},{"name":"version","type":"string"},{"name":"chainId","type":"uint256"},{"name":"verifyingContract","type":"address"}],';
        string memory domain = string.concat(
            '{"name":"Meterbridge","version":"1","chainId":"',
            vm.toString(block.chainid),
            '","verifyingContract":"',
            vm.toString(address(splitter)),
            '"}'
        );
        return vm.eip712HashTypedData(
            string.concat(
                '{"types":{',
                domainType,
                types,
                '},"primaryType":"',
                primary,
                '","domain":',
                domain,
                ',"message":',
                message,
                "}"
            )
        );
    }

    function json(Line memory line) internal pure returns (string memory) {
        (uint256 usage0, uint256 usage1) = abi.decode(abi.encode(line.usage), (uint256, uint256));
        return string.concat(
            '{"payer":"',
            vm.toString(line.payer),
            '","usage":["',
            vm.toString(usage0),
            '","',
            vm.toString(usage1),
            '"],"head":"',
            vm.toString(line.head),
            '"}'
        );
    }
}
