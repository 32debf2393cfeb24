// Package signing makes and checks signatures over a message, and keeps the public keys
// that a machine trusts. It knows bytes only.
//
// # Keys
//
// A key pair is cosign's: a private key in a PEM block "ENCRYPTED SIGSTORE PRIVATE KEY" (PKCS #8
// under scrypt and NaCl secretbox) and a public key in PKIX PEM, ECDSA on P-256 with SHA-256. A key is
// named by its ID: the SHA-256 of its DER SubjectPublicKeyInfo, in hex.
//
// # Signatures
//
// One signer leaves two files, [Signature.Sigstore] and [Signature.Detached], which carry the
// same ECDSA signature:
//
//   - a Sigstore bundle v0.3 with a messageSignature and the key's hint, for
//     cosign verify-blob --new-bundle-format --bundle;
//   - the base64 of the ASN.1 DER, for cosign verify-blob --signature, and for
//     openssl dgst -sha256 -verify after base64 -d.
//
// The nonce is that of RFC 6979, so that the same key and message give the same files.
//
// # Checking
//
// [Policy.Verify] runs cosign's own verification with nothing but the configured keys: no clock, no network,
// no transparency log. It fails closed. A message is accepted when at least Threshold distinct configured
// keys have signed it; a signer who signed twice counts once, and the signatures of keys that are not configured
// count for nothing. A signature in the name of a configured key that does not verify refuses
// the message however many others do.
//
// A signature can also be made by a certificate that is good for minutes, without a key of one's own (cosign's "keyless"): an [Identity]
// says whose, and a trusted root which authorities and logs prove it. That takes no network and no clock either.
//
// # Trust
//
// A [TrustStore] is a machine's policy: the [Statement] in force, in an [Envelope] (DSSE) with its signatures. The first is set by the
// machine's first install. Statement n+1 names statement n by digest and takes its place if it satisfies the policies of
// both, so that neither a thief of too few keys nor a typing error can lock the owners out. What has been revoked stays so.
package signing
