/*
 * An OpenSSL provider whose private keys are elsewhere: a key object holds the public key of a certificate, and every
 * signature is asked for through a callback. tls.c and remote_key.c use it.
 */
#ifndef VEREDUS_TLS_PROVIDER_H
#define VEREDUS_TLS_PROVIDER_H

#include "tls/tls.h"

#include <openssl/evp.h>

/* Registers the provider beside the default one. False on failure. */
bool provider_load(tls_sign sign, void *context);
/* A private key object for this certificate's public key; NULL on failure. The caller frees it with EVP_PKEY_free. */
EVP_PKEY *provider_key(EVP_PKEY *public_key);
/* What a key is named by to those who sign: SHA-256 of its SubjectPublicKeyInfo, SIGN_KEY_ID_SIZE octets. False on failure. */
bool provider_key_id(EVP_PKEY *key, unsigned char *key_id);

#endif
