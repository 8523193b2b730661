/* The commands that become the server: dev, serve, fence. They only fill in what the supervisor needs to know. */
#include "base/mem.h"
#include "cli/run.h"
#include "roles/supervisor.h"

#include <sysexits.h>

enum { PORT_BASE = 1000, PORT_BASE_MAX = 65535 - 995 };

/* "name@domain:password": the password begins behind the first colon after the @, and may hold any character. */
static bool take_user(const char *text, struct supervisor_dev_user *user)
{
    struct str all = str_of(text);
    size_t at = str_find(all, 0, '@');
    size_t colon = at == SIZE_MAX ? SIZE_MAX : str_find(all, at, ':');
    if (at == 0 || colon == SIZE_MAX || colon == at + 1 || colon + 1 == all.len) {
        return false;
    }
    user->address = str_sub(all, 0, colon);
    user->password = str_from(all, colon + 1);
    return true;
}

static size_t count_users(const struct cli_input *input)
{
    size_t count = 0;
    for (size_t i = 0; i < input->option_count; i++) {
        count += strcmp(input->options[i].option->name, "--user") == 0;
    }
    return count;
}

int cli_dev(const struct cli_input *input)
{
    uint64_t base = PORT_BASE;
    if (!cli_option_number(input, "--port-base", 1, PORT_BASE_MAX, &base)) {
        return EX_USAGE;
    }
    size_t count = count_users(input);
    struct supervisor_dev_user *users = mem_zalloc(count + 1, sizeof(*users));
    if (users == NULL) {
        return cli_fail(input, EX_OSERR, NULL, "there is not enough memory");
    }
    size_t filled = 0;
    for (size_t i = 0; i < input->option_count; i++) {
        if (strcmp(input->options[i].option->name, "--user") == 0 &&
            !take_user(input->options[i].value, &users[filled++])) {
            mem_free(users);
            return cli_fail(input, EX_USAGE, "write name@domain:password", "--user: \"%s\" will not do",
                            input->options[i].value);
        }
    }
    struct supervisor_options options = {.dev = true,
                                         .dev_dir = cli_option_value(input, "--dir"),
                                         .dev_port_base = (unsigned)base,
                                         .dev_users = users,
                                         .dev_user_count = count,
                                         .sandbox = !cli_option_given(input, "--no-sandbox"),
                                         .json = input->json};
    int code = supervisor_run(&options);
    mem_free(users);
    return code;
}

int cli_serve(const struct cli_input *input)
{
    const char *file = cli_option_value(input, "--config");
    struct supervisor_options options = {.config_file = file == NULL ? CLI_CONFIG_FILE : file,
                                         .sandbox = !cli_option_given(input, "--no-sandbox"),
                                         .json = input->json};
    return supervisor_run(&options);
}

int cli_fence(const struct cli_input *input)
{
    struct supervisor_options options = {.dev = true,
                                         .dev_port_base = PORT_BASE,
                                         .fence = true,
                                         .sandbox = !cli_option_given(input, "--no-sandbox"),
                                         .json = input->json};
    return supervisor_run(&options);
}
