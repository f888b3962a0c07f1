"""Generated from the contract's ABI by scripts/artifacts; do not edit."""

DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
CLAIM_AUTHORIZATION_TYPE = (
    "ClaimAuthorization(bytes32 splitId,uint256 offset,address account,address recipient,uint256 nonce,"
    "uint256 deadline)"
)
LINE_TYPE = "Line(address payer,uint256[2] usage,bytes32 head)"
STATEMENT_TYPE = (
    "Statement(bytes32 tariffId,uint64 sealedAt,Line[] lines)"
    "Line(address payer,uint256[2] usage,bytes32 head)"
)
