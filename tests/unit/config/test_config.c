/* The configuration: every setting's errors name file, line, what is wrong and the nearest right word. */
#include "base/mem.h"
#include "config/config.h"
#include "config/settings.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define GOOD "hostname = mail.example.org\ndomain \"example.org\" { }\n"

static bool parse(struct str text, struct config **config, struct buf *errors)
{
    *errors = buf_make(1 << 20);
    return config_parse(text, "f", config, errors);
}

/* What is wrong behind two good lines: exactly these lines, nothing twice and nothing else. */
static void expect_error(const char *text, const char *error)
{
    struct config *config;
    struct buf errors;
    struct buf whole = buf_make(1 << 20);
    buf_append_lit(&whole, GOOD);
    buf_append_str(&whole, str_of(text));
    assert_false(parse(buf_str(&whole), &config, &errors));
    assert_null(config);
    buf_append_char(&errors, '\0');
    assert_string_equal(errors.data, error);
    buf_free(&errors);
    buf_free(&whole);
}

#define TLS "tls \"t\" { certificate = c key = k } "

static const struct {
    const char *text;
    const char *error;
} bad[] = {
    /* Names. */
    {"hostnam = x\n", "f:3: \"hostnam\" is not a setting of the file; did you mean \"hostname\"?\n"},
    {"xyzzyplugh = x\n", "f:3: \"xyzzyplugh\" is not a setting of the file; see veredus.conf(5)\n"},
    {"limits {\n recipents = 3\n}\n",
     "f:4: \"recipents\" is not a setting of limits; did you mean \"recipients\"?\n"},
    {"listener \"a\" { knid = mx }\n",
     "f:3: \"knid\" is not a setting of listener; did you mean \"kind\"?\n"},
    {"listners \"a\" { }\n", "f:3: \"listners\" is not a setting of the file; did you mean \"listener\"?\n"},
    {"recipients = 300\n", "f:3: \"recipients\" is not a setting of the file; it is one of limits: write "
                           "limits { recipients = ... }\n"},
    {"catch_all = a@b\n",
     "f:3: \"catch_all\" is not a setting of the file; it is one of domain: write domain \"NAME\" { "
     "catch_all = ... }\n"},
    {"limits { quota = 3 }\n", "f:3: \"quota\" is not a setting of limits; it stands outside all sections; "
                               "is a } missing before it?\n"},
    {"quota = 1 2\n", "f:3: \"2\" is not a setting of the file; see veredus.conf(5)\n"},
    {"include(\"/etc/passwd\")\n", "f:3: \"include\" is not a setting of the file; see veredus.conf(5)\n"},
    /* Structure. */
    {"quota 3\n", "f:3: \"quota\" needs an = and a value behind it\n"},
    {"quota { }\n", "f:3: \"quota\" needs an = and a value behind it\n"},
    {"quota =\n", "f:4: the file ends in the middle of a setting\n"},
    {"quota += 3\n", "f:3: \"quota\" has one value: write = and not +=\n"},
    {"limits = 3\n", "f:3: \"limits\" is a section: write limits { ... }\n"},
    {"limits \"x\" { }\n", "f:3: \"limits\" is a section: write limits { ... }\n"},
    {"listener { kind = mx }\n", "f:3: a section listener needs a name: write listener \"NAME\" { ... }\n"},
    {"listener \"\" { kind = mx port = 25 }\n",
     "f:3: the name of a section listener must have 1 to 253 characters\n"},
    {"\nlistener \"a\" {\n kind = mx\n", "f:4: the { of this line is not closed; a } is missing\n"},
    {"}\n", "f:3: this } closes nothing; take it away, or write the { before it\n"},
    {"{{{{{{{{{\n", "f:3: brackets are nested too deeply; is a } missing before it?\n"},
    {"postmaster = \"a@b\n\n", "f:3: the quote (\") is not closed on this line\n"},
    {"postmaster = 'a@b\n", "f:3: the quote (') is not closed on this line\n"},
    {"\n/* quota = 3\n\n", "f:4: the comment that begins here does not end; close it with */\n"},
    {"relay { schedule = 5m, 10m }\n",
     "f:3: \",\" does not belong here; values of a list stand in { }, and nothing else "
     "needs commas or brackets\n"},
    {"quota = (3)\n",
     "f:3: \"(\" does not belong here; values of a list stand in { }, and nothing else needs commas or "
     "brackets\n"},
    {"data_dir = ${HOME}\n",
     "f:3: \"${\": variables of the environment are not expanded; write the value itself\n"},
    {"# \xff\n", "f:3: this line is not UTF-8 text\n"},
    /* Lines are right behind comments of every kind. */
    {"# a\n\n// b\n/* c\n d */ quota = x # e\n", "f:7: quota: \"x\" is not a number\n"},
    {"listener \"a\" {\n kind = mx\n}\n", "f:3: listener \"a\": port must be set\n"},
    {"listener \"a\" { }\n",
     "f:3: listener \"a\": kind must be set\nf:3: listener \"a\": port must be set\n"},
    /* Twice. */
    {"quota = 1\n\nquota = 2\n", "f:5: quota is set already, in line 3; leave one out\n"},
    {"limits { errors = 3\n errors = 4 }\n", "f:4: errors is set already, in line 3; leave one out\n"},
    {"relay {\n schedule = {1m}\n schedule = {2m}\n}\n",
     "f:5: schedule is set already, in line 4; leave one out\n"},
    {"relay {\n schedule = {1m,\n 2m, 3m}\n schedule = {2m, 3m}\n}\n",
     "f:6: schedule is set already, in line 4; leave one out\n"},
    {"limits { errors = 3 }\nlimits { hops = 30 }\n",
     "f:4: there is a section limits already, in line 3; put the settings together\n"},
    {"domain \"example.org\" { }\n",
     "f:3: there is a section named \"example.org\" already; put the settings together, or "
     "give it another name\n"},
    {"domain \"EXAMPLE.org\" { }\n",
     "f:3: domain \"EXAMPLE.org\" is there already, in line 2; put the settings together\n"},
    {"domain \"b\xc3\xbc"
     "cher.example\" { }\ndomain \"xn--bcher-kva.example\" { }\n",
     "f:4: domain \"xn--bcher-kva.example\" is there already, in line 3; put the settings together\n"},
    {"route \".a\" { host = h }\nroute \".A\" { host = i }\n",
     "f:4: route \".A\" is there already, in line 3; leave one out\n"},
    {"listener \"a\" { kind = mx port = 25 }\nlistener \"b\" { kind = lmtp port = 25 address = {\"::\"} }\n",
     "f:4: listener \"b\": port 25 is listener \"a\"'s already, in line 3\n"},
    /* Values. */
    {"log_level = inof\n",
     "f:3: log_level: \"inof\" is not one of the words for it; did you mean \"info\"?\n"},
    {"log_level = 77777\n",
     "f:3: log_level: \"77777\" is not one of the words for it: write error, warning, info or debug\n"},
    {"over_quota = bounce\n",
     "f:3: over_quota: \"bounce\" is not one of the words for it: write defer or refuse\n"},
    {"\n\nquota = 10Q\n", "f:5: quota: \"10Q\" has an unknown unit: write K, M or G\n"},
    {"quota = 99999999999999999999\n", "f:3: quota: \"99999999999999999999\" is not a number\n"},
    {"quota = -1\n", "f:3: quota: \"-1\" is not a number\n"},
    {"quota = 2000000G\n", "f:3: quota: 2000000G is out of bounds: at least 0, at most 1024G\n"},
    {"uid_base = 10\n", "f:3: uid_base: 10 is out of bounds: at least 1000, at most 60000\n"},
    {"uid_base = 2K\n", "f:3: uid_base: \"2K\" is not a plain number\n"},
    {"limits { pop3_idle = 5w }\n", "f:3: pop3_idle: \"5w\" has an unknown unit: write s, m, h or d\n"},
    {"limits { pop3_idle = soon }\n",
     "f:3: pop3_idle: \"soon\" is not a time: write a number with s, m, h or d\n"},
    {"limits { pop3_idle = 0 }\n", "f:3: pop3_idle: 0 is out of bounds: at least 1s, at most 1d\n"},
    {"limits {\n recipients = 5\n errors = 0 }\nquota = x\n",
     "f:6: quota: \"x\" is not a number\nf:4: recipients: 5 is out of bounds: at least 100, at most 10000\n"
     "f:5: errors: 0 is out of bounds: at least 1, at most 1000\n"},
    {"foreign_senders = maybe\n", "f:3: foreign_senders: \"maybe\" is neither true nor false\n"},
    {"domain \"b\" { subaddress_separator = \"ab\" }\n",
     "f:3: subaddress_separator: \"ab\" is more than one character\n"},
    {"domain \"b\" { subaddress_separator = \"a\" }\n",
     "f:3: subaddress_separator: \"a\" cannot part a user from a tag: write + or - or another such "
     "character\n"},
    {"domain \"b\" { catch_all = joe }\n",
     "f:3: catch_all: \"joe\" is no e-mail address: write name@domain\n"},
    {"postmaster = \"joe@-x-\"\n", "f:3: postmaster: \"joe@-x-\" is no e-mail address: write name@domain\n"},
    {"domain \"ex ample\" { }\n", "f:3: domain \"ex ample\": the name of the section is not a domain name\n"},
    {"domain \"b\" { relay = true catch_all = a@b }\n",
     "f:3: domain \"b\": relay = true passes all mail on, so catch_all cannot be; leave one out\n"},
    {"relay { hello_name = \"a b\" }\n", "f:3: hello_name: \"a b\" is not a domain name\n"},
    {"dns { servers = {\"192.0.2.1\", \"one\"} }\n",
     "f:3: servers: entry 2, \"one\", is not a server: write 192.0.2.1 or 192.0.2.1@5353\n"},
    {"dns { servers = {\"192.0.2.1@70000\"} }\n",
     "f:3: servers: entry 1, \"192.0.2.1@70000\", is not a server: write 192.0.2.1 or 192.0.2.1@5353\n"},
    {"dns { stub_zones = {\"example.org\"} }\n", "f:3: stub_zones: entry 1, \"example.org\", is not a zone "
                                                 "with a server: write example.org=192.0.2.1@5353\n"},
    {"relay { schedule = { } }\n", "f:3: schedule: the list is empty; it needs at least 1 entry\n"},
    {"dns { servers = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17} }\n",
     "f:3: servers: the list has 17 entries; at most 16 are possible\n"},
    {"relay { schedule = {\"1s\", \"40d\"} }\n",
     "f:3: schedule: entry 2, \"40d\", is out of bounds: at least 1s, at most 30d\n"},
    {"relay { schedule = {\"x\"} }\n",
     "f:3: schedule: entry 1, \"x\", is not a time: write a number with s, m, h or d\n"},
    /* Settings that need each other. */
    {"listener \"a\" { kind = mx port = 0 }\n", "f:3: port: 0 is out of bounds: at least 1, at most 65535\n"},
    {"listener \"a\" { kind = mx port = 25 address = {\"localhost\"} }\n",
     "f:3: address: entry 1, \"localhost\", is not an IP address\n"},
    {"listener \"a\" { kind = mx port = 25 certificate = t }\n",
     "f:3: listener \"a\": there is no tls section named \"t\"\n"},
    {"tls \"main\" { certificate = c key = k }\nlistener \"a\" { kind = mx port = 25 certificate = mian }\n",
     "f:4: listener \"a\": there is no tls section named \"mian\"; did you mean \"main\"?\n"},
    {"listener \"a\" { kind = pop3 port = 110 }\n",
     "f:3: listener \"a\": nobody could log in without TLS; add a tls section with certificate and key\n"},
    {TLS "listener \"a\" { kind = imap port = 143 tls = none }\n",
     "f:3: listener \"a\": nobody could log in without TLS; write tls = starttls or tls = implicit\n"},
    {"listener \"a\" { kind = mx port = 25 tls = implicit }\n",
     "f:3: listener \"a\": tls = implicit needs a tls section with certificate and key\n"},
    {"route \"*\" { host = h login = u password_file = p }\n",
     "f:3: route \"*\": a login needs tls = required or tls = verified, else the password would travel in "
     "clear\n"},
    {"route \"*\" { host = h tls = required login = u }\n",
     "f:3: route \"*\": login and password_file go together; password_file is missing\n"},
    {"route \"x\" { host = h tls = none implicit_tls = true }\n",
     "f:3: route \"x\": implicit_tls = true and tls = none exclude each other\n"},
    {"route \"a b\" { host = h }\n", "f:3: route \"a b\": the name of the section is not a domain name\n"},
    {"route \"a\" { host = \"h h\" }\n", "f:3: host: \"h h\" is neither a host's name nor an IP address\n"},
    {"route \"a\" { }\n", "f:3: route \"a\": host must be set\n"},
    {"limits { body_memory = 1M }\n",
     "f: limits: body_memory is smaller than message_size, so the largest messages could never be taken\n"},
};

static void test_bad_configurations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect_error(bad[i].text, bad[i].error);
    }
    assert_true(sizeof(bad) / sizeof(bad[0]) >= 80);
    struct config *config;
    struct buf errors;
    assert_false(parse(STR(""), &config, &errors));
    assert_true(str_equal(buf_str(&errors), STR("f: hostname must be set\n")));
    buf_free(&errors);
    assert_false(parse(STR("hostname = a\0b\n"), &config, &errors));
    assert_true(str_equal(buf_str(&errors), STR("f:1: this line has a NUL character\n")));
    buf_free(&errors);
}

/* What editors of other systems make of a file. */
static void test_line_ends_and_mark(void **state)
{
    (void)state;
    struct config *config;
    struct buf errors;
    assert_true(parse(STR("\xef\xbb\xbfhostname = a\r\n# b\r\nquota = 3K\r\ndomain \"c\" {\r\n}\r\n"),
                      &config, &errors));
    assert_true(str_equal(config->hostname, STR("a")));
    assert_int_equal(config->quota, 3072);
    config_unref(config);
    buf_free(&errors);
    assert_false(parse(STR("hostname = a\r\n# b\r\nquota = x\r\n"), &config, &errors));
    assert_true(str_equal(buf_str(&errors), STR("f:3: quota: \"x\" is not a number\n")));
    buf_free(&errors);
}

/* Names are kept in one form, however they are written. */
static void test_international_names(void **state)
{
    (void)state;
    struct config *config;
    struct buf errors;
    bool fine = parse(STR("hostname = Mail.B\xc3\xbc"
                          "cher.example\n"
                          "postmaster = Ann@B\xc3\x9c"
                          "CHER.example\n"
                          "domain \"B\xc3\xbc"
                          "cher.example\" { catch_all = \"x@b\xc3\xbc"
                          "cher.example\" }\n"
                          "domain \"\xef\xbd\x81.example\" { }\n" /* a full-width a */
                          "route \".b\xc3\xbc"
                          "cher.example\" { host = \"m.b\xc3\xbc"
                          "cher.example\" }\n"
                          "dns { stub_zones = {\"b\xc3\xbc"
                          "cher.example=::1@53\"} }\n"),
                      &config, &errors);
    buf_append_char(&errors, '\0');
    assert_string_equal(errors.data, "");
    assert_true(fine);
    assert_true(str_equal(config->hostname, STR("mail.xn--bcher-kva.example")));
    assert_true(str_equal(config->postmaster, STR("Ann@xn--bcher-kva.example")));
    const struct config_domain *domain = config_find_domain(config, STR("xn--bcher-kva.example"));
    assert_non_null(domain);
    assert_true(str_equal(domain->catch_all, STR("x@xn--bcher-kva.example")));
    assert_non_null(config_find_domain(config, STR("a.example")));
    assert_true(str_equal(config_find_route(config, STR("y.xn--bcher-kva.example"))->host,
                          STR("m.xn--bcher-kva.example")));
    assert_true(str_equal(config->dns.stub_zones[0], STR("xn--bcher-kva.example=::1@53")));
    config_unref(config);
    buf_free(&errors);
}

/* A setting as it stands in a file, `value` for its value. */
static void write_setting(struct buf *text, const struct section *section, const struct setting *setting,
                          const char *value)
{
    bool top = section->name[0] == '\0';
    buf_append_lit(text, "hostname = a.example\n");
    if (!top) {
        buf_append_str(text, str_of(section->name));
        buf_append_str(text, section->titled ? STR(" \"t\" {\n") : STR(" {\n"));
        for (size_t i = 0; section->titled && i < section->count; i++) {
            const struct setting *other = &section->settings[i];
            if (other->standard == NULL && other != setting) {
                buf_printf(text, "%s = %s\n", other->name,
                           other->type == SETTING_CHOICE ? other->words[0] : "25");
            }
        }
    }
    buf_printf(text, "%s = \"%s\"\n%s", setting->name, value, top ? "" : "}\n");
}

/* Every setting that is not free text refuses nonsense, and what is misspelt by one letter is found again. */
static void test_every_setting(void **state)
{
    (void)state;
    unsigned checked = 0;
    for (size_t i = 0; i < config_section_count; i++) {
        const struct section *section = &config_sections[i];
        for (size_t k = 0; k < section->count; k++) {
            const struct setting *setting = &section->settings[k];
            struct config *config;
            struct buf errors;
            struct buf text = buf_make(1 << 16);
            if (setting->type != SETTING_TEXT) {
                write_setting(&text, section, setting, "no%such");
                assert_false(parse(buf_str(&text), &config, &errors));
                assert_true(str_find_str(buf_str(&errors), str_of(setting->name)) != SIZE_MAX);
                assert_true(str_starts(buf_str(&errors), STR("f:")) &&
                            !str_starts(buf_str(&errors), STR("f: ")));
                buf_free(&errors);
                checked++;
            }
            char name[64];
            struct setting misspelt = *setting;
            struct buf area = {.data = name, .cap = sizeof(name), .limit = sizeof(name)};
            buf_append_str(&area, str_of(setting->name));
            buf_append_lit(&area, "x\0");
            misspelt.name = name;
            buf_clear(&text);
            write_setting(&text, section, &misspelt, "1");
            assert_false(parse(buf_str(&text), &config, &errors));
            struct buf want = buf_make(256);
            buf_printf(&want, "did you mean \"%s\"?", setting->name);
            assert_true(str_find_str(buf_str(&errors), buf_str(&want)) != SIZE_MAX);
            buf_free(&want);
            buf_free(&errors);
            buf_free(&text);
        }
    }
    assert_true(checked > 30);
}

static void test_defaults_and_values(void **state)
{
    (void)state;
    struct config *config;
    struct buf errors;
    assert_true(parse(STR("hostname = a.example\ndomain \"EXAMPLE.org\" { }\nrelay { schedule = {\"90\", "
                          "\"5m\"} }\nquota = \"2 KiB\"\n"
                          "route \"*\" { host = h1 }\nroute \".example.org\" { host = h2 }\nroute "
                          "\"x.example.org\" { host = h3 }\n"),
                      &config, &errors));
    assert_int_equal(errors.len, 0);
    assert_int_equal(config->limits.message_size, 50 << 20);
    assert_int_equal(config->limits.pop3_idle_s, 600);
    assert_int_equal(config->quota, 2048);
    assert_int_equal(config->relay.schedule_count, 2);
    assert_int_equal(config->relay.schedule_s[0], 90);
    assert_int_equal(config->relay.schedule_s[1], 300);
    assert_int_equal(config->relay.lifetime_s, 5 * 86400);
    assert_true(str_equal(config->relay.hello_name, STR("a.example")));
    assert_non_null(config_find_domain(config, STR("example.org")));
    assert_null(config_find_domain(config, STR("example.com")));
    assert_true(str_equal(config_find_route(config, STR("x.example.org"))->host, STR("h3")));
    assert_true(str_equal(config_find_route(config, STR("y.example.org"))->host, STR("h2")));
    assert_true(str_equal(config_find_route(config, STR("example.org"))->host, STR("h1")));
    struct config *same = config_ref(config);
    config_unref(config);
    assert_true(str_equal(same->hostname, STR("a.example")));
    config_unref(same);
    config_unref(NULL);
    buf_free(&errors);
}

static void test_nearest_word(void **state)
{
    (void)state;
    static const char *const words[] = {"starttls", "implicit", "none"};
    assert_true(str_equal(config_nearest(STR("startls"), words, 3), STR("starttls")));
    assert_true(str_equal(config_nearest(STR("NONE"), words, 3), STR("none")));
    assert_int_equal(config_nearest(STR("qqqqqqqq"), words, 3).len, 0);
    assert_int_equal(config_nearest(STR_EMPTY, words, 3).len, 0);
}

/* Goal G4: whichever allocation of ours fails, the result is an error, and nothing leaks. */
static void test_without_memory(void **state)
{
    (void)state;
    bool reached = true;
    for (uint64_t k = 1; reached; k++) {
        struct config *config = NULL;
        struct buf errors = buf_make(1 << 16);
        int64_t before = mem_live();
        mem_fail_at(k, 1);
        bool fine = config_parse(
            STR(GOOD "listener \"a\" { kind = mx port = 25 }\nrelay { schedule = {\"1m\", \"2m\"} }\n"), "f",
            &config, &errors);
        reached = mem_count() >= k;
        mem_fail_at(0, 0);
        assert_true(fine == (config != NULL));
        assert_true(fine || reached);
        config_unref(config);
        buf_free(&errors);
        assert_int_equal(mem_live(), before);
        assert_true(k < 10000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_configurations),  cmocka_unit_test(test_international_names),
        cmocka_unit_test(test_line_ends_and_mark),  cmocka_unit_test(test_every_setting),
        cmocka_unit_test(test_defaults_and_values), cmocka_unit_test(test_nearest_word),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
