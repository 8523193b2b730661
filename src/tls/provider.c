/*
 * The provider of remote keys; see provider.h. It implements key management (just enough to be a private key that matches
 * its certificate) and digest-sign for RSA, EC and Ed25519. What can be asked of the public key is asked of the default
 * provider's object for it.
 */
#include "tls/provider.h"

#include "base/mem.h"
#include "tls/proto_sign.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

struct remote_key {
    EVP_PKEY *public_key; /* of the default provider */
    unsigned char id[SIGN_KEY_ID_SIZE];
};

/* One signature: the digest is made here, only its signature elsewhere. */
struct remote_signature {
    struct remote_key *key;
    EVP_MD_CTX *digest;
    char digest_name[16];
    int padding;
};

static tls_sign sign_callback;
static void *sign_context;

bool provider_key_id(EVP_PKEY *key, unsigned char *key_id)
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    bool fine = len > 0 && EVP_Digest(der, (size_t)len, key_id, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    return fine;
}

static struct remote_key *key_new_for(EVP_PKEY *public_key, const unsigned char id[SIGN_KEY_ID_SIZE])
{
    struct remote_key *key = mem_new(struct remote_key);
    if (key != NULL) {
        EVP_PKEY_up_ref(public_key);
        key->public_key = public_key;
        memcpy(key->id, id, SIGN_KEY_ID_SIZE);
    }
    return key;
}

/* Key management. */

static void *key_new(void *provider)
{
    (void)provider;
    return mem_new(struct remote_key);
}

static void key_free(void *data)
{
    struct remote_key *key = data;
    if (key != NULL) {
        EVP_PKEY_free(key->public_key);
        mem_free(key);
    }
}

static void *key_dup(const void *data, int selection)
{
    (void)selection;
    const struct remote_key *key = data;
    return key_new_for(key->public_key, key->id);
}

static int key_has(const void *data, int selection)
{
    (void)selection; /* it stands for a whole private key */
    return data != NULL;
}

static int key_match(const void *a, const void *b, int selection)
{
    (void)selection;
    const struct remote_key *left = a;
    const struct remote_key *right = b;
    return EVP_PKEY_eq(left->public_key, right->public_key) == 1;
}

static int key_get_params(void *data, OSSL_PARAM params[])
{
    struct remote_key *key = data;
    return EVP_PKEY_get_params(key->public_key, params);
}

static const OSSL_PARAM *key_gettable(void *provider)
{
    (void)provider;
    static const OSSL_PARAM list[] = {OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
                                      OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
                                      OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
                                      OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
                                      OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                                      OSSL_PARAM_END};
    return list;
}

static int key_export(void *data, int selection, OSSL_CALLBACK *callback, void *argument)
{
    struct remote_key *key = data;
    if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0) {
        return 0; /* it is not here */
    }
    OSSL_PARAM *params = NULL;
    int result = EVP_PKEY_todata(key->public_key, EVP_PKEY_PUBLIC_KEY, &params);
    if (result == 1) {
        result = callback(params, argument);
        OSSL_PARAM_free(params);
    }
    return result;
}

/* Which of the export's parameters there may be; libcrypto only wants the list to exist. */
static const OSSL_PARAM *key_export_types(int selection)
{
    (void)selection;
    static const OSSL_PARAM list[] = {OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                                      OSSL_PARAM_END};
    return list;
}

/* How provider_key hands its object to OpenSSL: as the one parameter of EVP_PKEY_fromdata. */

static int key_import(void *data, int selection, const OSSL_PARAM params[])
{
    (void)selection;
    struct remote_key *key = data;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, "veredus-key");
    struct remote_key *from = NULL;
    if (p == NULL || p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size != sizeof(from)) {
        return 0;
    }
    memcpy(&from, p->data, sizeof(from));
    EVP_PKEY_up_ref(from->public_key);
    key->public_key = from->public_key;
    memcpy(key->id, from->id, sizeof(key->id));
    return 1;
}

static const OSSL_PARAM *key_import_types(int selection)
{
    (void)selection;
    static const OSSL_PARAM list[] = {OSSL_PARAM_octet_string("veredus-key", NULL, 0), OSSL_PARAM_END};
    return list;
}

static const char *ec_operation_name(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "ECDSA" : "EC";
}

static const char *rsa_operation_name(int operation)
{
    (void)operation;
    return "RSA";
}

static const char *ed25519_operation_name(int operation)
{
    (void)operation;
    return "ED25519";
}

#define KEYMGMT_FUNCTIONS(operation_name)                                                                    \
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))key_new}, {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))key_free},    \
        {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))key_dup}, {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))key_has},  \
        {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))key_match},                                                \
        {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))key_get_params},                                      \
        {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))key_gettable},                                   \
        {OSSL_FUNC_KEYMGMT_EXPORT, (void (*)(void))key_export},                                              \
        {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (void (*)(void))key_export_types},                                  \
        {OSSL_FUNC_KEYMGMT_IMPORT, (void (*)(void))key_import},                                              \
        {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (void (*)(void))key_import_types},                                  \
        {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))(operation_name)},                          \
    {                                                                                                        \
        0, NULL                                                                                              \
    }

static const OSSL_DISPATCH rsa_keymgmt[] = {KEYMGMT_FUNCTIONS(rsa_operation_name)};
static const OSSL_DISPATCH ec_keymgmt[] = {KEYMGMT_FUNCTIONS(ec_operation_name)};
static const OSSL_DISPATCH ed25519_keymgmt[] = {KEYMGMT_FUNCTIONS(ed25519_operation_name)};

static const char properties[] = "provider=veredus";
static const OSSL_ALGORITHM keymgmts[] = {{"RSA:rsaEncryption", properties, rsa_keymgmt, "remote RSA key"},
                                          {"EC:id-ecPublicKey", properties, ec_keymgmt, "remote EC key"},
                                          {"ED25519", properties, ed25519_keymgmt, "remote Ed25519 key"},
                                          {NULL, NULL, NULL, NULL}};

/* Signatures. */

static void *signature_new(void *provider, const char *query)
{
    (void)provider;
    (void)query;
    return mem_new(struct remote_signature);
}

static void signature_free(void *data)
{
    struct remote_signature *s = data;
    if (s != NULL) {
        EVP_MD_CTX_free(s->digest);
        mem_free(s);
    }
}

static int set_padding(struct remote_signature *s, const OSSL_PARAM params[])
{
    const OSSL_PARAM *p =
        params == NULL ? NULL : OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
    if (p == NULL) {
        return 1;
    }
    int mode = 0;
    if (p->data_type == OSSL_PARAM_UTF8_STRING) {
        mode = strcmp(p->data, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0 ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
    } else if (!OSSL_PARAM_get_int(p, &mode)) {
        return 0;
    }
    s->padding = mode == RSA_PKCS1_PSS_PADDING ? SIGN_PADDING_PSS : SIGN_PADDING_PKCS1;
    return 1;
}

static int sign_init(void *data, const char *digest, void *key, const OSSL_PARAM params[])
{
    struct remote_signature *s = data;
    s->key = key;
    s->digest_name[0] = '\0';
    s->padding = SIGN_PADDING_NONE;
    if (EVP_PKEY_is_a(s->key->public_key, "RSA")) {
        s->padding = SIGN_PADDING_PKCS1;
    }
    if (digest != NULL && digest[0] != '\0') {
        size_t len = strlen(digest);
        const EVP_MD *md = EVP_get_digestbyname(digest);
        if (len >= sizeof(s->digest_name) || md == NULL) {
            return 0;
        }
        memcpy(s->digest_name, digest, len + 1);
        EVP_MD_CTX_free(s->digest);
        s->digest = EVP_MD_CTX_new();
        if (s->digest == NULL || EVP_DigestInit_ex(s->digest, md, NULL) != 1) {
            return 0;
        }
    }
    return set_padding(s, params);
}

static int sign_update(void *data, const unsigned char *text, size_t len)
{
    struct remote_signature *s = data;
    return s->digest != NULL && EVP_DigestUpdate(s->digest, text, len) == 1;
}

static int ask(struct remote_signature *s, struct str text, bool digested, unsigned char *out,
               size_t *out_len, size_t room)
{
    struct buf signature = buf_make(SIGN_SIGNATURE_MAX);
    bool fine =
        sign_callback != NULL && text.len <= SIGN_DATA_MAX &&
        sign_callback(sign_context, s->key->id, s->digest_name, digested, s->padding, text, &signature) &&
        signature.len > 0 && signature.len <= room;
    if (fine) {
        memcpy(out, signature.data, signature.len);
        *out_len = signature.len;
    }
    buf_free(&signature);
    return fine;
}

static int sign_final(void *data, unsigned char *out, size_t *out_len, size_t room)
{
    struct remote_signature *s = data;
    if (out == NULL) {
        *out_len = (size_t)EVP_PKEY_get_size(s->key->public_key);
        return 1;
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    return s->digest != NULL && EVP_DigestFinal_ex(s->digest, digest, &len) == 1 &&
           ask(s, str_make(digest, len), true, out, out_len, room);
}

/* One-shot; Ed25519 has no other, and libssl uses it for all. */
static int sign_whole(void *data, unsigned char *out, size_t *out_len, size_t room, const unsigned char *text,
                      size_t len)
{
    struct remote_signature *s = data;
    if (out == NULL) {
        *out_len = (size_t)EVP_PKEY_get_size(s->key->public_key);
        return 1;
    }
    if (s->digest == NULL) {
        return ask(s, str_make(text, len), false, out, out_len, room);
    }
    return sign_update(s, text, len) && sign_final(s, out, out_len, room);
}

static int signature_set_params(void *data, const OSSL_PARAM params[])
{
    return set_padding(data, params);
}

static const OSSL_PARAM *signature_settable(void *data, void *provider)
{
    (void)data;
    (void)provider;
    static const OSSL_PARAM list[] = {OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
                                      OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL),
                                      OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
                                      OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
                                      OSSL_PARAM_END};
    return list;
}

static const OSSL_DISPATCH signature_functions[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (void (*)(void))signature_new},
    {OSSL_FUNC_SIGNATURE_FREECTX, (void (*)(void))signature_free},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (void (*)(void))sign_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (void (*)(void))sign_update},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (void (*)(void))sign_final},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (void (*)(void))sign_whole},
    {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (void (*)(void))signature_set_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (void (*)(void))signature_settable},
    {0, NULL}};

static const OSSL_ALGORITHM signatures[] = {
    {"RSA", properties, signature_functions, "remote RSA signature"},
    {"ECDSA", properties, signature_functions, "remote ECDSA signature"},
    {"ED25519", properties, signature_functions, "remote Ed25519 signature"},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
    (void)provider;
    *no_cache = 0;
    return operation == OSSL_OP_KEYMGMT ? keymgmts : operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static const OSSL_DISPATCH provider_functions[] = {
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query}, {0, NULL}};

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                         void **context)
{
    (void)handle;
    (void)in;
    static int something;
    *out = provider_functions;
    *context = &something;
    return 1;
}

bool provider_load(tls_sign sign, void *context)
{
    sign_callback = sign;
    sign_context = context;
    return OSSL_PROVIDER_add_builtin(NULL, "veredus", provider_init) == 1 &&
           OSSL_PROVIDER_load(NULL, "default") != NULL && OSSL_PROVIDER_load(NULL, "veredus") != NULL;
}

EVP_PKEY *provider_key(EVP_PKEY *public_key)
{
    const char *type = EVP_PKEY_is_a(public_key, "RSA")  ? "RSA"
                       : EVP_PKEY_is_a(public_key, "EC") ? "EC"
                                                         : "ED25519";
    unsigned char id[SIGN_KEY_ID_SIZE];
    struct remote_key *key = provider_key_id(public_key, id) ? key_new_for(public_key, id) : NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, properties);
    EVP_PKEY *result = NULL;
    if (key != NULL && context != NULL) {
        OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string("veredus-key", &key, sizeof(key)),
                               OSSL_PARAM_construct_end()};
        if (EVP_PKEY_fromdata_init(context) != 1 ||
            EVP_PKEY_fromdata(context, &result, EVP_PKEY_KEYPAIR, params) != 1) {
            result = NULL;
        }
    }
    EVP_PKEY_CTX_free(context);
    key_free(key);
    return result;
}
