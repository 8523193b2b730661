/*
 * SASL mechanisms against any client: the first byte chooses the mechanism and whether there is an initial response, the rest
 * are responses parted by LF. Oracles: at most one question for a password, then nothing more; what is asked about is text
 * within its limits.
 */
#include "sasl/sasl.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_question(const struct sasl *sasl)
{
    struct str name = buf_str(&sasl->authentication_id);
    must(name.len > 0 && name.len <= SASL_NAME_MAX && str_is_utf8(name) &&
         str_find(name, 0, '\n') == SIZE_MAX);
    must(str_is_utf8(buf_str(&sasl->authorization_id)) && sasl->authorization_id.len <= SASL_NAME_MAX);
    must(sasl->password.len > 0 && sasl->password.len <= SASL_PASSWORD_MAX);
    must(str_find(buf_str(&sasl->password), 0, '\0') == SIZE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 20000) {
        return 0;
    }
    const struct sasl_mechanism *mechanism = sasl_find((data[0] & 1) != 0 ? STR("login") : STR("PLAIN"));
    struct sasl *sasl = sasl_new(mechanism);
    must(sasl != NULL);
    struct str rest = str_make(data + 1, size - 1);
    struct str response;
    enum sasl_step step = SASL_CHALLENGE;
    bool first = true;
    while (step == SASL_CHALLENGE && str_split(&rest, '\n', &response)) {
        step =
            !first ? sasl_respond(sasl, response) : sasl_begin(sasl, (data[0] & 2) != 0 ? &response : NULL);
        first = false;
    }
    must(step != SASL_NO_MEMORY);
    if (step == SASL_VERIFY) {
        check_question(sasl);
    }
    sasl_free(sasl);
    return 0;
}
