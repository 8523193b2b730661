/* SASL mechanisms; see sasl.h. A mechanism is one row of the table and one function. */
#include "sasl/sasl.h"

#include "base/mem.h"

struct sasl_mechanism {
    const char *name;
    enum sasl_step (*respond)(struct sasl *sasl, struct str response);
    struct str first_challenge;
};

/* Identities are shown in logs and looked up: text without control characters, well-formed. */
static bool is_identity(struct str s)
{
    if (s.len > SASL_NAME_MAX || !str_is_utf8(s)) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.data[i] < 0x20 || s.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool is_password(struct str s)
{
    return s.len > 0 && s.len <= SASL_PASSWORD_MAX && str_find(s, 0, '\0') == SIZE_MAX;
}

/* What has been checked fits the buffers' limits, so only memory can be wanting. */
static enum sasl_step keep(struct buf *place, struct str value, enum sasl_step then)
{
    return buf_append_str(place, value) ? then : SASL_NO_MEMORY;
}

/* RFC 4616: [authzid] NUL authcid NUL passwd */
static enum sasl_step plain_respond(struct sasl *sasl, struct str response)
{
    struct str rest = response;
    struct str authorization;
    struct str authentication;
    if (!str_split(&rest, '\0', &authorization) || !str_split(&rest, '\0', &authentication) ||
        rest.data == NULL) {
        return SASL_MALFORMED;
    }
    if (!is_identity(authorization) || !is_identity(authentication) || authentication.len == 0 ||
        !is_password(rest)) {
        return SASL_MALFORMED;
    }
    bool kept = buf_append_str(&sasl->authorization_id, authorization) &&
                buf_append_str(&sasl->authentication_id, authentication);
    return kept ? keep(&sasl->password, rest, SASL_VERIFY) : SASL_NO_MEMORY;
}

/* No standard, but what old clients speak: the name, then the password. */
static enum sasl_step login_respond(struct sasl *sasl, struct str response)
{
    if (sasl->state == 0) {
        if (!is_identity(response) || response.len == 0) {
            return SASL_MALFORMED;
        }
        sasl->state = 1;
        sasl->challenge = STR("Password:");
        return keep(&sasl->authentication_id, response, SASL_CHALLENGE);
    }
    return is_password(response) ? keep(&sasl->password, response, SASL_VERIFY) : SASL_MALFORMED;
}

static const struct sasl_mechanism mechanisms[] = {
    {"PLAIN", plain_respond, {"", 0}},
    {"LOGIN", login_respond, {"Username:", 9}},
};

const struct sasl_mechanism *sasl_find(struct str name)
{
    for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++) {
        if (str_equal_nocase(name, str_of(mechanisms[i].name))) {
            return &mechanisms[i];
        }
    }
    return NULL;
}

const char *sasl_name(const struct sasl_mechanism *mechanism)
{
    return mechanism->name;
}

struct str sasl_names(void)
{
    return STR("PLAIN LOGIN");
}

struct sasl *sasl_new(const struct sasl_mechanism *mechanism)
{
    struct sasl *sasl = mem_new(struct sasl);
    if (sasl != NULL) {
        sasl->mechanism = mechanism;
        sasl->challenge = mechanism->first_challenge;
        sasl->authorization_id = buf_make(SASL_NAME_MAX);
        sasl->authentication_id = buf_make(SASL_NAME_MAX);
        sasl->password = buf_make(SASL_PASSWORD_MAX);
    }
    return sasl;
}

enum sasl_step sasl_begin(struct sasl *sasl, const struct str *initial)
{
    return initial == NULL ? SASL_CHALLENGE : sasl->mechanism->respond(sasl, *initial);
}

enum sasl_step sasl_respond(struct sasl *sasl, struct str response)
{
    return response.len > SASL_RESPONSE_MAX ? SASL_MALFORMED : sasl->mechanism->respond(sasl, response);
}

void sasl_free(struct sasl *sasl)
{
    if (sasl != NULL) {
        buf_wipe(&sasl->password);
        buf_free(&sasl->authorization_id);
        buf_free(&sasl->authentication_id);
        mem_free(sasl);
    }
}
