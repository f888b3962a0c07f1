// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Party, ShareProof} from "../../contracts/types/Structs.sol";
import {Harness} from "../contracts/support/Harness.sol";
import {vm} from "../contracts/support/Vm.sol";

/// What proofs under one root can and cannot show, for every content of them, up to the height of two: a tree is
/// made of nothing but such steps. Hashes are taken to be without collisions. See scripts/prove.
contract ShareTreeProof {
    Harness private harness = new Harness();

    /// Two parties under one root either are the same leaf at the same place, or their intervals do not overlap.
    function check_TwoLeaves_DoNotOverlap_1_1(Party calldata a, Party calldata b, uint256[6] calldata x)
        external
        view
    {
        _checkDisjoint(a, _proof(1, x[0], x[1], 0, x[2], 0), b, _proof(1, x[3], x[4], 0, x[5], 0));
    }

    /// A leaf beside the root of two others.
    function check_TwoLeaves_DoNotOverlap_1_2(Party calldata a, Party calldata b, uint256[8] calldata x)
        external
        view
    {
        _checkDisjoint(a, _proof(1, x[0], x[1], 0, x[2], 0), b, _proof(2, x[3], x[4], x[5], x[6], x[7]));
    }

    function check_TwoLeaves_DoNotOverlap_2_2(Party calldata a, Party calldata b, uint256[10] calldata x)
        external
        view
    {
        _checkDisjoint(a, _proof(2, x[0], x[1], x[2], x[3], x[4]), b, _proof(2, x[5], x[6], x[7], x[8], x[9]));
    }

    /// No party is the root of a tree over anything: a node never passes as a leaf.
    function check_NoNodeIsALeaf(
        Party calldata a,
        bytes32 left,
        uint256 leftSum,
        bytes32 right,
        uint256 rightSum
    ) external view {
        vm.assume(a.share != 0 && a.role != 0);
        assert(harness.leaf(a) != harness.node(left, leftSum, right, rightSum));
    }

    /// A party's interval ends within the root's sum, and no sum wraps.
    function check_Interval_IsWithinTheWhole(Party calldata a, uint256[5] calldata x) external view {
        vm.assume(a.share != 0 && a.role != 0);
        ShareProof memory proof = _proof(2, x[0], x[1], x[2], x[3], x[4]);
        try harness.climb(a, proof) returns (bytes32, uint256 sum, uint256 offset) {
            assert(offset + a.share <= sum && sum <= type(uint128).max);
        } catch {}
    }

    function _checkDisjoint(Party calldata a, ShareProof memory p, Party calldata b, ShareProof memory q)
        private
        view
    {
        vm.assume(a.share != 0 && a.role != 0 && b.share != 0 && b.role != 0);
        try harness.climb(a, p) returns (bytes32 top, uint256 total, uint256 start) {
            try harness.climb(b, q) returns (bytes32 otherTop, uint256 otherTotal, uint256 otherStart) {
                if (top != otherTop || total != otherTotal) return;
                bool same = start == otherStart && a.share == b.share && a.account == b.account;
                assert(same || start + a.share <= otherStart || otherStart + b.share <= start);
            } catch {}
        } catch {}
    }

    function _proof(uint256 height, uint256 path, uint256 hash0, uint256 hash1, uint256 sum0, uint256 sum1)
        private
        pure
        returns (ShareProof memory proof)
    {
        proof.path = path & 3;
        proof.hashes = new bytes32[](height);
        proof.sums = new uint128[](height);
        (proof.hashes[0], proof.sums[0]) = (bytes32(hash0), uint128(sum0));
        if (height == 2) (proof.hashes[1], proof.sums[1]) = (bytes32(hash1), uint128(sum1));
    }
}
