"""Certificates of 4096 bits for aiortc, whose own have elliptic curves, and handshakes that leave
whole, as those of janus, mediasoup and others do: a flight of more than two kilobytes in a datagram."""

from aiortc import rtcdtlstransport, rtcpeerconnection
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

BITS = 4096
CIPHERS = b"ECDHE-RSA-AES128-GCM-SHA256"
LARGEST_FLIGHT = 4096


class LargeCertificate(rtcdtlstransport.RTCCertificate):
    def _create_ssl_context(self, srtp_profiles):
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU)
        verify = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        context.set_verify(verify, lambda *_: True)
        context.use_certificate(self._cert)
        context.use_privatekey(self._key)
        context.set_cipher_list(CIPHERS)
        context.set_tlsext_use_srtp(b":".join(each.openssl_profile for each in srtp_profiles))
        return context

    @classmethod
    def generateCertificate(cls):
        key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
        return cls(key=key, cert=rtcdtlstransport.generate_certificate(key))


class WholeFlights(SSL.Connection):
    def __init__(self, context, socket=None):
        super().__init__(context, socket)
        self.set_ciphertext_mtu(LARGEST_FLIGHT)

    def bio_read(self, _):
        return super().bio_read(LARGEST_FLIGHT)


def use_large_certificates():
    rtcpeerconnection.RTCCertificate = LargeCertificate
    rtcdtlstransport.SSL.Connection = WholeFlights
