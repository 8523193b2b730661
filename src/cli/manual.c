/*
 * `manpage` and `completion`: manual pages, docs/configuration.md and completion for bash, made from the tables of commands
 * and of settings. The files in man/ and docs/ are what these print; a test compares them.
 */
#include "cli/output.h"
#include "cli/run.h"
#include "cli/version.h"
#include "config/settings.h"

#include <stdio.h>
#include <sysexits.h>

enum { PAGE_MAX = 4 << 20 };

/* roff. */

/* Text of a paragraph: nothing in it is taken for a request or an escape. */
static void roff_text(struct buf *out, const char *text)
{
    bool start = true;
    for (size_t i = 0; text[i] != '\0'; i++) {
        char c = text[i];
        if (start && (c == '.' || c == '\'')) {
            buf_append_lit(out, "\\&");
        }
        if (c == '\\') {
            buf_append_lit(out, "\\e");
        } else if (c == '-') {
            buf_append_lit(out, "\\-");
        } else if (c == '\'') {
            buf_append_lit(out, "\\(aq");
        } else if (c == '`') {
            buf_append_lit(out, "\\(ga");
        } else {
            buf_append_char(out, c);
        }
        start = c == '\n';
    }
}

static void roff_paragraph(struct buf *out, const char *text)
{
    roff_text(out, text);
    buf_append_char(out, '\n');
}

/* A request whose argument is text: .SH, .SS. */
static void roff_heading(struct buf *out, const char *request, const char *text)
{
    buf_printf(out, "%s \"", request);
    roff_text(out, text);
    buf_append_lit(out, "\"\n");
}

static void roff_entry(struct buf *out, const char *name, const char *value, const char *help)
{
    buf_append_lit(out, ".TP\n\\fB");
    roff_text(out, name);
    buf_append_lit(out, "\\fR");
    if (value != NULL) {
        buf_append_lit(out, " \\fI");
        roff_text(out, value);
        buf_append_lit(out, "\\fR");
    }
    buf_append_char(out, '\n');
    roff_paragraph(out, help);
}

static void roff_option(struct buf *out, const struct cli_option *option)
{
    char names[64];
    snprintf(names, sizeof(names), "%s%s%s", option->letter == NULL ? "" : option->letter,
             option->letter == NULL ? "" : ", ", option->name);
    roff_entry(out, names, option->value, option->help);
}

static void roff_command(struct buf *out, const struct cli_command *command)
{
    struct buf usage = buf_make(4096);
    roff_heading(out, ".SS", command->name);
    cli_usage_line(command, &usage);
    buf_append_char(&usage, '\0');
    buf_append_lit(out, ".B ");
    roff_paragraph(out, buf_ok(&usage) ? usage.data : command->name);
    buf_free(&usage);
    buf_append_lit(out, ".PP\n");
    roff_text(out, command->synopsis);
    buf_append_lit(out, ".\n");
    if (command->help != NULL) {
        roff_paragraph(out, command->help);
    }
    for (size_t i = 0; i < CLI_ARGUMENTS_MAX && command->arguments[i].name != NULL; i++) {
        roff_entry(out, command->arguments[i].name, NULL, command->arguments[i].help);
    }
    for (size_t i = 0; i < CLI_OPTIONS_MAX && command->options[i].name != NULL; i++) {
        roff_option(out, &command->options[i]);
    }
    for (size_t i = 0; i < 4 && command->examples[i].line != NULL; i++) {
        buf_append_lit(out, ".PP\n.RS\n.nf\n");
        roff_paragraph(out, command->examples[i].line);
        buf_append_lit(out, ".fi\n.RE\n");
        roff_paragraph(out, command->examples[i].words);
    }
}

static const struct {
    const char *code;
    const char *words;
} exit_codes[] = {
    {"0", "All is well."},
    {"64", "The command line is not right."},
    {"65", "What was given is not right: an address, a password, a code."},
    {"66", "There is no such file, row or message."},
    {"67", "There is no such account or alias."},
    {"69", "The server is not running, or refuses."},
    {"70", "A fault of the program."},
    {"71", "The system refuses something: memory, sockets."},
    {"73", "It is there already, or cannot be made."},
    {"74", "Reading or writing failed."},
    {"75", "It did not work this time; try again later."},
    {"76", "The other side does not keep to the protocol."},
    {"77", "This user may not do that."},
    {"78", "The configuration has errors."},
};

static void command_page(struct buf *out)
{
    buf_append_lit(
        out,
        ".TH VEREDUS 1 \"\" \"veredus " VEREDUS_VERSION "\" \"Veredus\"\n.SH NAME\n"
        "veredus \\- a complete mail server\n"
        ".SH SYNOPSIS\n.B veredus\n.I command\n[\\fIoptions\\fR] [\\fIarguments\\fR]\n.SH DESCRIPTION\n");
    roff_paragraph(
        out,
        "Veredus takes mail from mail programs and from other servers, finds out where it is to go, delivers "
        "it or "
        "passes it on, and keeps it until it is fetched. The same program is the server, its roles and the "
        "commands that manage it.");
    buf_append_lit(out, ".PP\n");
    roff_paragraph(out, "Commands for a running server reach it over its control socket, which only the user "
                        "that started it, and "
                        "root, may use.");
    buf_append_lit(out, ".SH OPTIONS\nEvery command has these:\n");
    for (size_t i = 0; i < cli_common_option_count; i++) {
        roff_option(out, &cli_common_options[i]);
    }
    buf_append_lit(out, ".PP\nCommands for a running server have these too:\n");
    for (size_t i = 0; i < cli_server_option_count; i++) {
        roff_option(out, &cli_server_options[i]);
    }
    buf_append_lit(out, ".SH COMMANDS\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        if (!cli_commands[i].hidden) {
            roff_command(out, &cli_commands[i]);
        }
    }
    buf_append_lit(out, ".SH EXIT STATUS\nAs in sysexits.h:\n");
    for (size_t i = 0; i < sizeof(exit_codes) / sizeof(exit_codes[0]); i++) {
        roff_entry(out, exit_codes[i].code, NULL, exit_codes[i].words);
    }
    buf_append_lit(out, ".SH ENVIRONMENT\n");
    roff_entry(out, "VEREDUS_CONTROL", NULL,
               "The control socket to use where neither -c nor --dir is given.");
    buf_append_lit(out, ".SH FILES\n");
    roff_entry(out, CLI_CONFIG_FILE, NULL, "The configuration; see veredus.conf(5).");
    roff_entry(out, "/var/lib/veredus", NULL,
               "Log, index and the server's own keys, unless data_dir says otherwise.");
    roff_entry(out, "/run/veredus/control", NULL, "The control socket, unless runtime_dir says otherwise.");
    buf_append_lit(out, ".SH SEE ALSO\n.BR veredus.conf (5)\n");
}

/* Settings. */

static const char *type_words(const struct setting *setting)
{
    switch (setting->type) {
    case SETTING_TEXT: return "text";
    case SETTING_DOMAIN: return "domain name";
    case SETTING_HOST: return "host name or IP address";
    case SETTING_MAIL: return "e-mail address";
    case SETTING_ADDRESSES: return "list of IP addresses";
    case SETTING_SERVERS: return "list of servers";
    case SETTING_ZONES: return "list of zones with servers";
    case SETTING_COUNT: return "number";
    case SETTING_SIZE: return "size in octets, with K, M or G";
    case SETTING_SECONDS: return "time, with s, m, h or d";
    case SETTING_SCHEDULE: return "list of times";
    case SETTING_FLAG: return "true or false";
    case SETTING_CHOICE: return NULL; /* its words say it */
    case SETTING_CHARACTER: return "one character, or empty";
    }
    return NULL;
}

/* "number, 1 to 65535; standard: 25". */
static void append_kind(const struct setting *setting, struct buf *out)
{
    const char *words = type_words(setting);
    if (words != NULL) {
        buf_append_str(out, str_of(words));
    }
    for (size_t i = 0; words == NULL && setting->words[i] != NULL; i++) {
        buf_printf(out, "%s%s", i == 0 ? "one of " : ", ", setting->words[i]);
    }
    if (setting->type == SETTING_COUNT || setting->type == SETTING_SIZE || setting->type == SETTING_SECONDS) {
        buf_printf(out, ", %llu to %llu", (unsigned long long)setting->min, (unsigned long long)setting->max);
    }
    if (setting->standard == NULL) {
        buf_append_lit(out, "; must be set");
    } else if (setting->standard[0] == '\0') {
        buf_append_lit(out, "; standard: empty");
    } else {
        buf_printf(out, "; standard: %s", setting->standard);
    }
}

static char *kind_words(const struct setting *setting, struct buf *area)
{
    buf_clear(area);
    append_kind(setting, area);
    buf_append_char(area, '\0');
    return area->data;
}

static const char example[] = "hostname = mail.example.org\n"
                              "tls \"main\" {\n"
                              "    certificate = /etc/veredus/fullchain.pem\n"
                              "    key = /etc/veredus/key.pem\n"
                              "}\n"
                              "domain \"example.org\" {}\n"
                              "listener \"mx\" { kind = mx port = 25 }\n"
                              "listener \"submission\" { kind = submission port = 587 }\n"
                              "listener \"submissions\" { kind = submission port = 465 tls = implicit }\n"
                              "listener \"imap\" { kind = imap port = 143 }\n"
                              "listener \"imaps\" { kind = imap port = 993 tls = implicit }\n"
                              "listener \"pop3\" { kind = pop3 port = 110 }\n"
                              "listener \"pop3s\" { kind = pop3 port = 995 tls = implicit }\n";

static const char form[] =
    "Settings are written name = value, sections name { settings } or name \"title\" { settings }. Values "
    "with "
    "spaces or brackets stand in double quotes; lists in braces, parted by commas. What follows # or // on "
    "a line is a comment. Sizes may end in K, M or G (times 1024), times in s, m, h or d.";
static const char changing[] =
    "After a change, `veredus config check` names file, line and reason of each error, and `veredus reload` "
    "puts the file into force without dropping a connection. data_dir, runtime_dir, uid_base and "
    "catch_all_mail change with a restart only.";

static void settings_page(struct buf *out)
{
    struct buf area = buf_make(4096);
    buf_append_lit(out, ".TH VEREDUS.CONF 5 \"\" \"veredus " VEREDUS_VERSION "\" \"Veredus\"\n.SH NAME\n"
                        "veredus.conf \\- the configuration of the Veredus mail server\n.SH DESCRIPTION\n");
    roff_paragraph(out, form);
    buf_append_lit(out, ".PP\n");
    roff_paragraph(out, changing);
    buf_append_lit(out, ".SH EXAMPLE\n.nf\n");
    roff_text(out, example);
    buf_append_lit(out, ".fi\n.SH SETTINGS\n");
    for (size_t s = 0; s < config_section_count; s++) {
        const struct section *section = &config_sections[s];
        char title[128];
        snprintf(title, sizeof(title), "%s%s",
                 section->name[0] == '\0' ? "Outside all sections" : section->name,
                 section->titled ? " TITLE" : "");
        roff_heading(out, ".SS", title);
        if (section->name[0] != '\0') {
            roff_paragraph(out, section->help);
        }
        for (size_t i = 0; i < section->count; i++) {
            roff_entry(out, section->settings[i].name, NULL, section->settings[i].help);
            buf_append_lit(out, "(");
            roff_text(out, kind_words(&section->settings[i], &area));
            buf_append_lit(out, ")\n");
        }
    }
    buf_append_lit(out, ".SH FILES\n" CLI_CONFIG_FILE "\n.SH SEE ALSO\n.BR veredus (1)\n");
    buf_free(&area);
}

/* Text in a cell of a Markdown table. */
static void markdown_cell(struct buf *out, const char *text)
{
    for (size_t i = 0; text[i] != '\0'; i++) {
        if (text[i] == '|' || text[i] == '*' || text[i] == '_' || text[i] == '<') {
            buf_append_char(out, '\\');
        }
        buf_append_char(out, text[i]);
    }
}

static void markdown_page(struct buf *out)
{
    struct buf area = buf_make(4096);
    buf_append_lit(
        out, "# The configuration\n\n"
             "This page is printed by `veredus manpage markdown`, from the table of settings in the code; "
             "veredus.conf(5) says the same.\n\n");
    buf_printf(out, "%s\n\n%s\n\n```\n%s```\n", form, changing, example);
    for (size_t s = 0; s < config_section_count; s++) {
        const struct section *section = &config_sections[s];
        if (section->name[0] == '\0') {
            buf_append_lit(out, "\n## Outside all sections\n\n");
        } else {
            buf_printf(out, "\n## %s%s\n\n%s\n\n", section->name, section->titled ? " \"title\"" : "",
                       section->help);
        }
        buf_append_lit(out, "| setting | value | meaning |\n| --- | --- | --- |\n");
        for (size_t i = 0; i < section->count; i++) {
            buf_printf(out, "| `%s` | ", section->settings[i].name);
            markdown_cell(out, kind_words(&section->settings[i], &area));
            buf_append_lit(out, " | ");
            markdown_cell(out, section->settings[i].help);
            buf_append_lit(out, " |\n");
        }
    }
    buf_free(&area);
}

static int print_page(const struct cli_input *input, const struct buf *page)
{
    if (!buf_ok(page)) {
        return cli_fail(input, EX_OSERR, NULL, "there is not enough memory");
    }
    if (input->json) {
        json_t *object = json_pack("{s:s%}", "text", page->data, page->len);
        cli_print_json(object);
        json_decref(object);
    } else {
        fwrite(page->data, 1, page->len, stdout);
    }
    return EX_OK;
}

int cli_manpage(const struct cli_input *input)
{
    static const struct {
        const char *name;
        void (*make)(struct buf *out);
    } pages[] = {{"commands", command_page}, {"conf", settings_page}, {"markdown", markdown_page}};
    const char *name = input->argument_count == 0 ? "commands" : input->arguments[0];
    struct buf page = buf_make(PAGE_MAX);
    int code = EX_USAGE;
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (strcmp(pages[i].name, name) == 0) {
            pages[i].make(&page);
            code = print_page(input, &page);
        }
    }
    buf_free(&page);
    return code == EX_USAGE ? cli_fail(input, code, "there are `commands`, `conf` and `markdown`",
                                       "there is no page \"%s\"", name)
                            : code;
}

/* Completion. */

static void options_of(const struct cli_option *options, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count && options[i].name != NULL; i++) {
        buf_printf(out, " %s", options[i].name);
    }
}

static void completion_cases(struct buf *out)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *command = &cli_commands[i];
        if (command->hidden) {
            continue;
        }
        buf_printf(out, "        \"%s\"|\"%s \"*) words=\"", command->name, command->name);
        struct buf options = buf_make(4096);
        options_of(command->options, CLI_OPTIONS_MAX, &options);
        if (command->server) {
            options_of(cli_server_options, cli_server_option_count, &options);
        }
        options_of(cli_common_options, cli_common_option_count, &options);
        buf_append_str(out, str_from(buf_str(&options), 1));
        buf_free(&options);
        buf_append_lit(out, "\" ;;\n");
    }
}

/* The first words, or the second ones of a group. Commands of a group stand together. */
static void completion_words(const char *group, struct buf *out)
{
    struct str before = STR_EMPTY;
    for (size_t i = 0; i < cli_command_count; i++) {
        struct str name = str_of(cli_commands[i].name);
        size_t space = str_find(name, 0, ' ');
        struct str first = str_sub(name, 0, space);
        if (cli_commands[i].hidden) {
            continue;
        }
        if (group == NULL && !str_equal(first, before)) {
            buf_printf(out, "%s%.*s", before.len == 0 ? "" : " ", STR_ARGS(first));
            before = first;
        } else if (group != NULL && space != SIZE_MAX && str_equal(first, str_of(group))) {
            buf_printf(out, "%s%.*s", before.len == 0 ? "" : " ", STR_ARGS(str_from(name, space + 1)));
            before = first;
        }
    }
}

static void completion_groups(struct buf *out)
{
    struct str before = STR_EMPTY;
    for (size_t i = 0; i < cli_command_count; i++) {
        struct str name = str_of(cli_commands[i].name);
        size_t space = str_find(name, 0, ' ');
        struct str first = str_sub(name, 0, space);
        char group[32];
        if (space == SIZE_MAX || str_equal(first, before) || first.len >= sizeof(group)) {
            continue;
        }
        snprintf(group, sizeof(group), "%.*s", STR_ARGS(first));
        buf_printf(out, "        %s) words=\"", group);
        completion_words(group, out);
        buf_append_lit(out, "\" ;;\n");
        before = first;
    }
}

int cli_completion(const struct cli_input *input)
{
    struct buf out = buf_make(PAGE_MAX);
    buf_append_lit(
        &out, "# Completion of veredus for bash: source <(veredus completion)\n"
              "_veredus()\n{\n"
              "    local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
              "    local line=\"\" words=\"\" i\n"
              "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
              "        case \"${COMP_WORDS[i]}\" in -*) break ;; esac\n"
              "        line=\"$line${line:+ }${COMP_WORDS[i]}\"\n"
              "    done\n"
              "    case \"$previous\" in\n"
              "        --dir) COMPREPLY=($(compgen -d -- \"$current\")); return ;;\n"
              "        -c|--config|--password-file|--message|--ca) COMPREPLY=($(compgen -f -- "
              "\"$current\")); return ;;\n"
              "    esac\n"
              "    case \"${line#help }\" in\n"
              "        \"\"|help) words=\"");
    completion_words(NULL, &out);
    buf_append_lit(&out, "\" ;;\n");
    completion_groups(&out);
    completion_cases(&out);
    buf_append_lit(&out, "    esac\n"
                         "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                         "}\n"
                         "complete -F _veredus veredus\n");
    int code = print_page(input, &out);
    buf_free(&out);
    return code;
}
