// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";

/// @title TestUSD
/// @notice A USDC-like token for tests and the demo: 6 decimals, EIP-2612, EIP-3009. Anyone mints.
contract TestUSD is ERC20Permit, ERC3009 {
    constructor() ERC20("", "") ERC20Permit("Test USD") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @dev In code, not in storage, so that it also holds behind a proxy.
    function name() public pure override returns (string memory) {
        return "Test USD";
    }

    /// @dev As `name`.
    function symbol() public pure override returns (string memory) {
        return "TUSD";
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
