// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// For the compiler's SMTChecker. `PricingProof` shows, by halmos, that `Pricing.priceDown` is this sum over the lanes of
/// its words; here is what holds of the sum, for all rates, usages and scales. See scripts/prove.
contract PricingBounds {
    /// A product is within ±2^127, so eight of them are within ±2^130: nothing leaves int256.
    function productIsWithin127Bits(uint64 rate, int64 usage) external pure {
        int256 product = int256(uint256(rate)) * int256(usage);
        assert(product <= 2 ** 127);
        assert(product >= -(2 ** 127));
    }

    /// A sum of eight such products is within ±2^130.
    function sumIsWithin130Bits(int256[8] calldata products) external pure {
        int256 sum = 0;
        require(_fits(products[0]) && _fits(products[1]) && _fits(products[2]) && _fits(products[3]));
        require(_fits(products[4]) && _fits(products[5]) && _fits(products[6]) && _fits(products[7]));
        sum = products[0] + products[1] + products[2] + products[3];
        sum += products[4] + products[5] + products[6] + products[7];
        assert(sum <= 2 ** 130);
        assert(sum >= -(2 ** 130));
    }

    /// More of a meter never makes the total smaller.
    function totalGrowsWithAMeter(uint64 rate, int64 usage, int64 more, int128 others) external pure {
        require(more >= usage);
        int256 before = int256(uint256(rate)) * int256(usage) + others;
        assert(int256(uint256(rate)) * int256(more) + others >= before);
    }

    /// A larger total is never worth less.
    function worthGrowsWithTheTotal(uint136 total, uint136 more, uint128 unit) external pure {
        require(unit > 0 && more >= total);
        assert(uint256(more) / unit >= uint256(total) / unit);
    }

    /// Rounded down: by less than one base unit.
    function worthIsRoundedDown(uint136 total, uint128 unit) external pure {
        require(unit > 0);
        uint256 worth = uint256(total) / unit;
        assert(worth * unit <= total);
        assert(total < (worth + 1) * unit);
    }

    function _fits(int256 product) private pure returns (bool) {
        return product <= 2 ** 127 && product >= -(2 ** 127);
    }
}
