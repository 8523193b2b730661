/* The configuration's text. Oracles: a result or at least one error, each a line that names the file; nothing of ours leaks. */
#include "base/mem.h"
#include "config/config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make(data, size);
    /* libconfuse would read the files that are named here. */
    if (size > 8192 || str_find_str(text, STR("include")) != SIZE_MAX) {
        return 0;
    }
    int64_t before = mem_live();
    struct config *config = NULL;
    struct buf errors = buf_make(1 << 24);
    if (config_parse(text, "f", &config, &errors)) {
        must(config != NULL && errors.len == 0);
        must(config->hostname.len >= 1 && config->hostname.len <= 253);
        must(config->limits.pop3_idle_s >= 1 && config->relay.schedule_count >= 1);
        for (size_t i = 0; i < config->listener_count; i++) {
            must(config->listeners[i].port >= 1 && config->listeners[i].port <= 65535);
        }
        config_find_route(config, STR("example.org"));
    } else {
        must(config == NULL && errors.len > 0 && errors.data[errors.len - 1] == '\n');
        struct str rest = str_sub(buf_str(&errors), 0, errors.len - 1);
        struct str line;
        while (str_split(&rest, '\n', &line)) {
            must(str_starts(line, STR("f:")));
        }
    }
    config_unref(config);
    buf_free(&errors);
    must(mem_live() == before);
    return 0;
}
