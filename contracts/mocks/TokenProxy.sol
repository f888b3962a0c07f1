// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

/// @title TokenProxy
/// @notice Puts a test token behind a proxy, as USDC is, so that gas figures hold what a proxied token costs.
contract TokenProxy is ERC1967Proxy {
    constructor(address implementation) ERC1967Proxy(implementation, "") {}

    /// @dev The base refuses a proxy without initialisation, so as not to leave one to strangers. These tokens have none.
    function _unsafeAllowUninitialized() internal pure override returns (bool) {
        return true;
    }
}
