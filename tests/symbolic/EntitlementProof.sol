// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// For the compiler's SMTChecker: its solver reasons in whole numbers, where halmos, in bits, finds no end of a
/// product of two unknowns divided by a third. The expression is `Shares.entitledDown`'s. See scripts/prove.
contract EntitlementProof {
    /// Two parties that hold all shares: together they are entitled to at most the pot, and to less than two base
    /// units below it. For any number of parties the same follows from `isWithinOneUnit`, added up over them.
    function sumIsWithinThePot(uint128 pot, uint128 shareA, uint128 shareB) external pure {
        uint256 total = uint256(shareA) + shareB;
        require(total > 0 && total <= type(uint128).max);
        uint256 a = uint256(pot) * shareA / total;
        uint256 b = uint256(pot) * shareB / total;
        // What the division left over, as the language defines it: solvers do not find it by themselves.
        uint256 restA = uint256(pot) * shareA % total;
        uint256 restB = uint256(pot) * shareB % total;
        require(a * total + restA == uint256(pot) * shareA && b * total + restB == uint256(pot) * shareB);
        assert((a + b) * total + restA + restB == uint256(pot) * total);
        assert(a + b <= pot);
        assert(a + b + 2 > pot);
    }

    /// Within one unit of exact: entitled · total is at most pot · share, and less than a total below it.
    function isWithinOneUnit(uint128 pot, uint128 share, uint128 total) external pure {
        require(share > 0 && share <= total);
        uint256 entitled = uint256(pot) * share / total;
        assert(entitled <= pot);
        assert(entitled * total <= uint256(pot) * share);
        assert(uint256(pot) * share - entitled * total < total);
    }

    /// Cumulative: what was paid before never exceeds what is due now.
    function growsWithThePot(uint128 pot, uint128 more, uint128 share, uint128 total) external pure {
        require(share > 0 && share <= total && more >= pot);
        assert(uint256(more) * share / total >= uint256(pot) * share / total);
    }
}
