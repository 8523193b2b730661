/* The table of all commands; see command.h. Groups ("queue show") stand together, so that help lists them together. */
#include "cli/run.h"

#define OPTION_CONFIG                                                                                        \
    {                                                                                                        \
        "--config", "-c", "FILE", false, "The configuration file (standard: " CLI_CONFIG_FILE ")."           \
    }
#define OPTION_DIR                                                                                           \
    {                                                                                                        \
        "--dir", NULL, "DIR", false, "The directory of a `veredus dev` instead."                             \
    }
#define OPTION_SANDBOX                                                                                       \
    {                                                                                                        \
        "--no-sandbox", NULL, NULL, false, "Run the roles without their sandboxes; for debugging only."      \
    }

#define OPTION_PASSWORD_STDIN                                                                                \
    {                                                                                                        \
        "--password-stdin", NULL, NULL, false, "Read the password from the first line of standard input."    \
    }
#define OPTION_PASSWORD_FILE                                                                                 \
    {                                                                                                        \
        "--password-file", NULL, "FILE", false, "Read the password from the first line of this file."        \
    }
#define OPTION_ALL                                                                                           \
    {                                                                                                        \
        "--all", NULL, NULL, false, "All rows of the queue."                                                 \
    }
#define ARGUMENT_ADDRESS                                                                                     \
    {                                                                                                        \
        "ADDRESS", false, false, "The account's address, name@domain."                                       \
    }
#define ARGUMENT_OWNER                                                                                       \
    {                                                                                                        \
        "ADDRESS", false, false, "The account that the mailbox belongs to."                                  \
    }
#define ARGUMENT_MAILBOX                                                                                     \
    {                                                                                                        \
        "MAILBOX", false, false, "The mailbox's name in UTF-8, with / between its parts."                    \
    }
#define ARGUMENT_IDENTIFIER                                                                                  \
    {                                                                                                        \
        "IDENTIFIER", false, false,                                                                          \
            "An account's address, or anyone for all accounts of the owner's domain."                        \
    }
#define OPTION_NEGATIVE                                                                                      \
    {                                                                                                        \
        "--negative", NULL, NULL, false, "The entry that takes rights away, whatever others give."           \
    }
#define ARGUMENT_ROWS                                                                                        \
    {                                                                                                        \
        "WHAT", true, true, "A row's number, a message's id, a recipient's address or a domain."             \
    }
#define ARGUMENT_ROW                                                                                         \
    {                                                                                                        \
        "WHAT", false, false, "A row's number, a message's id, a recipient's address or a domain."           \
    }

const struct cli_command cli_commands[] = {
    {
        .name = "dev",
        .synopsis = "Start a server for development that catches every message",
        .help = "Needs no root, no configuration and no DNS. Every recipient's mail goes to a mailbox made "
                "for its "
                "address, whose password may be anything; accounts given with --user have their own "
                "password. It listens "
                "on 127.0.0.1 and ::1 only, prints a line for each listener and then `ready`, and runs until "
                "it is "
                "interrupted.",
        .options = {{"--dir", NULL, "DIR", false,
                     "Keep everything in this directory (standard: a new one that is removed at the end)."},
                    {"--port-base", NULL, "N", false,
                     "Listen on N plus the standard port (standard: 1000, so SMTP is on 1025)."},
                    {"--user", NULL, "ADDRESS:PASSWORD", true, "Make this account."},
                    OPTION_SANDBOX},
        .examples = {{"veredus dev",
                      "Catch mail on port 1025; read it with IMAP on port 1143 or POP3 on port 1110."},
                     {"veredus dev --dir mail --port-base 2000 --user ann@example.org:secret",
                      "Keep the mail, listen on 2025 and so on, and make one account."}},
        .run = cli_dev,
    },
    {
        .name = "serve",
        .synopsis = "Start the server",
        .help = "Reads the configuration, binds the ports, starts the roles and runs until SIGTERM or "
                "`veredus stop`. "
                "SIGHUP and `veredus reload` put a changed configuration into force.",
        .options = {OPTION_CONFIG, OPTION_SANDBOX},
        .examples = {{"veredus serve -c /etc/veredus/veredus.conf", "Start with this configuration."}},
        .run = cli_serve,
    },
    {
        .name = "status",
        .synopsis = "Show what the server does: roles, queue, disk",
        .examples = {{"veredus status", "The server of " CLI_CONFIG_FILE "."},
                     {"veredus status --dir mail --json",
                      "That of `veredus dev --dir mail`, for a program."}},
        .server = true,
        .run = cli_status,
    },
    {
        .name = "reload",
        .synopsis = "Put a changed configuration into force",
        .help = "No connection is dropped: sessions go on with the configuration that they began with. If "
                "the new one has "
                "errors they are printed, the old one stays in force, and the exit code is 78.",
        .server = true,
        .run = cli_reload,
    },
    {
        .name = "stop",
        .synopsis = "Stop the server",
        .help = "Transactions under way are finished within the configured grace time; new ones get 421.",
        .server = true,
        .run = cli_stop,
    },
    {
        .name = "user add",
        .synopsis = "Make an account",
        .help = "The password is asked for on the terminal, or read with one of the options; never from the "
                "command line, "
                "where others could see it.",
        .arguments = {ARGUMENT_ADDRESS},
        .options =
            {{"--quota", NULL, "SIZE", false,
              "What the account may hold: 500M, 10G, none, or default for what the configuration says."},
             OPTION_PASSWORD_STDIN,
             OPTION_PASSWORD_FILE},
        .examples = {{"veredus user add ann@example.org", "Asks for the password."},
                     {"veredus user add ann@example.org --quota 10G --password-file secret", "For scripts."}},
        .server = true,
        .run = cli_user_add,
    },
    {
        .name = "user passwd",
        .synopsis = "Change the password of an account",
        .arguments = {ARGUMENT_ADDRESS},
        .options = {OPTION_PASSWORD_STDIN, OPTION_PASSWORD_FILE},
        .server = true,
        .run = cli_user_passwd,
    },
    {
        .name = "user list",
        .synopsis = "List the accounts",
        .server = true,
        .run = cli_user_list,
    },
    {
        .name = "user quota",
        .synopsis = "Change what an account may hold",
        .arguments = {ARGUMENT_ADDRESS,
                      {"SIZE", false, false, "500M, 10G, none, or default for what the configuration says."}},
        .server = true,
        .run = cli_user_quota,
    },
    {
        .name = "user disable",
        .synopsis = "Lock an account and keep its mail",
        .arguments = {ARGUMENT_ADDRESS},
        .server = true,
        .run = cli_user_disable,
    },
    {
        .name = "user enable",
        .synopsis = "Unlock an account",
        .arguments = {ARGUMENT_ADDRESS},
        .server = true,
        .run = cli_user_enable,
    },
    {
        .name = "user remove",
        .synopsis = "Remove an account with all its messages",
        .help = "Aliases that lead to it go too. There is no way back.",
        .arguments = {ARGUMENT_ADDRESS},
        .options = {{"--yes", NULL, NULL, false, "Yes, remove it."}},
        .server = true,
        .run = cli_user_remove,
    },
    {
        .name = "alias add",
        .synopsis = "Let an address lead to others",
        .arguments = {{"ADDRESS", false, false, "The alias, in a domain of this server."},
                      {"TARGET", false, true, "An account, another alias or an address elsewhere."}},
        .examples = {{"veredus alias add sales@example.org ann@example.org bob@example.org",
                      "Both get what is sent to sales."}},
        .server = true,
        .run = cli_alias_add,
    },
    {
        .name = "alias list",
        .synopsis = "List the aliases",
        .server = true,
        .run = cli_alias_list,
    },
    {
        .name = "alias remove",
        .synopsis = "Remove an alias, or some of its targets",
        .arguments = {{"ADDRESS", false, false, "The alias."},
                      {"TARGET", true, true, "Only these targets; without any, the whole alias."}},
        .server = true,
        .run = cli_alias_remove,
    },
    {
        .name = "acl list",
        .synopsis = "List what others may do in an account's mailboxes",
        .help = "The owner has all rights, and no entry.",
        .arguments = {ARGUMENT_OWNER,
                      {"MAILBOX", true, false, "This mailbox alone (standard: all of the account)."}},
        .examples = {{"veredus acl list ann@example.org", "All that ann shares, and with whom."}},
        .server = true,
        .run = cli_acl_list,
    },
    {
        .name = "acl set",
        .synopsis = "Give others rights in a mailbox",
        .help = "Others find the mailbox as \"Other Users/ADDRESS/MAILBOX\". It takes effect at once, also "
                "in sessions that have the mailbox open. Mailboxes that are made below it later get the same "
                "list.",
        .arguments = {ARGUMENT_OWNER,
                      ARGUMENT_MAILBOX,
                      ARGUMENT_IDENTIFIER,
                      {"RIGHTS", false, false,
                       "Letters of RFC 4314, lrswipkxtea; with + before them, added to those there are."}},
        .options = {OPTION_NEGATIVE},
        .examples = {{"veredus acl set ann@example.org Team bob@example.org lrs", "Bob may read it."},
                     {"veredus acl set ann@example.org Team bob@example.org +wite",
                      "And set flags, put messages in and remove them."},
                     {"veredus acl set ann@example.org Team anyone lrs", "All of example.org may read it."},
                     {"veredus acl set ann@example.org Team eve@example.org lrs --negative", "But not eve."}},
        .server = true,
        .run = cli_acl_set,
    },
    {
        .name = "acl remove",
        .synopsis = "Remove an entry from a mailbox's access control list",
        .arguments = {ARGUMENT_OWNER, ARGUMENT_MAILBOX, ARGUMENT_IDENTIFIER},
        .options = {OPTION_NEGATIVE},
        .server = true,
        .run = cli_acl_remove,
    },
    {
        .name = "import",
        .synopsis = "Take over mail from a Maildir or an mbox",
        .help =
            "Reads the files and has the running server file them in the account, with flags, keywords and "
            "dates; of "
            "Dovecot's Maildir files also UIDs, UIDVALIDITY and subscriptions, if the mailbox here has held "
            "nothing yet. A Maildir's sub-folders become mailboxes; of a directory of .mbox files each "
            "becomes one."
            "\n\n"
            "Run again, it passes over what it has imported and takes what is new. What has been deleted "
            "here since "
            "comes back. Quotas do not stop it.",
        .arguments = {ARGUMENT_ADDRESS,
                      {"PATH", false, false, "A Maildir, an mbox, or a directory of .mbox files."}},
        .options = {{"--format", NULL, "FORMAT", false, "maildir or mbox (standard: what it looks like)."},
                    {"--mailbox", NULL, "NAME", false,
                     "The mailbox for it, without sub-folders (standard: INBOX, with them)."}},
        .examples = {{"veredus import ann@example.org /var/mail/ann/Maildir", "All folders of a Maildir."},
                     {"veredus import ann@example.org old.mbox --mailbox Archive/2019",
                      "One file into one mailbox."}},
        .server = true,
        .run = cli_import,
    },
    {
        .name = "export",
        .synopsis = "Write an account's mail to a Maildir or mbox files",
        .help = "Reads the store itself, beside the server if it runs. The Maildir has UIDs, keywords and "
                "subscriptions as "
                "Dovecot has them. Run again, it writes what is missing and corrects flags.",
        .arguments = {ARGUMENT_ADDRESS, {"DIRECTORY", false, false, "Where to; made if it is missing."}},
        .options = {{"--format", NULL, "FORMAT", false, "maildir (the standard) or mbox."},
                    {"--mailbox", NULL, "NAME", false, "This mailbox alone (standard: all)."},
                    OPTION_CONFIG,
                    OPTION_DIR},
        .examples = {{"veredus export ann@example.org ann-mail", "A Maildir of all mailboxes."},
                     {"veredus export ann@example.org out --format mbox", "A file a mailbox."}},
        .run = cli_export,
    },
    {
        .name = "queue list",
        .synopsis = "List what waits for delivery to other hosts",
        .arguments = {{"WHAT", true, false, "Only a message's id, a recipient's address or a domain."}},
        .server = true,
        .run = cli_queue_list,
    },
    {
        .name = "queue show",
        .synopsis = "Show all that is known of rows of the queue",
        .arguments = {ARGUMENT_ROW},
        .server = true,
        .run = cli_queue_show,
    },
    {
        .name = "queue why",
        .synopsis = "Tell in plain words why something is still in the queue",
        .arguments = {ARGUMENT_ROW},
        .examples = {{"veredus queue why ann@example.org",
                      "What the last reply for ann meant, and what to do."}},
        .server = true,
        .run = cli_queue_why,
    },
    {
        .name = "queue retry",
        .synopsis = "Try to deliver now",
        .arguments = {ARGUMENT_ROWS},
        .options = {OPTION_ALL},
        .examples = {{"veredus queue retry example.org", "All that waits for this domain."}},
        .server = true,
        .run = cli_queue_retry,
    },
    {
        .name = "queue hold",
        .synopsis = "Keep rows of the queue from being tried",
        .arguments = {ARGUMENT_ROWS},
        .options = {OPTION_ALL},
        .server = true,
        .run = cli_queue_hold,
    },
    {
        .name = "queue release",
        .synopsis = "Let held rows be tried again",
        .arguments = {ARGUMENT_ROWS},
        .options = {OPTION_ALL},
        .server = true,
        .run = cli_queue_release,
    },
    {
        .name = "queue drop",
        .synopsis = "Remove rows of the queue without telling the sender",
        .arguments = {ARGUMENT_ROWS},
        .options = {OPTION_ALL},
        .server = true,
        .run = cli_queue_drop,
    },
    {
        .name = "trace",
        .synopsis = "Tell the journey of a message, each decision with its cause",
        .help = "Given an address, it tells of the newest messages that the address had a part in.",
        .arguments = {{"WHAT", false, false,
                       "A message's id (it stands in the 250 reply and in Received), or an address."}},
        .options = {{"--messages", NULL, "N", false, "How many messages to tell of (standard: 10)."}},
        .examples = {{"veredus trace ann@example.org", "What became of ann's mail."}},
        .server = true,
        .run = cli_trace,
    },
    {
        .name = "send",
        .synopsis = "Send a message and show the conversation with the server",
        .help = "Speaks to any SMTP server and says what each step is for. With --user it logs in, over an "
                "encrypted "
                "connection only. The server's certificate must be good, unless --no-verify is given.",
        .arguments = {{"RECIPIENT", false, true, "An address, name@domain."}},
        .options = {{"--server", NULL, "HOST", false, "The server (standard: localhost)."},
                    {"--port", NULL, "N", false, "Its port (standard: 587; 465 with --tls implicit)."},
                    {"--tls", NULL, "MODE", false,
                     "none, starttls or implicit (standard: implicit on port 465, else starttls: a must with "
                     "--user, "
                     "otherwise used if it is offered)."},
                    {"--ca", NULL, "FILE", false,
                     "Trust these authorities, PEM (standard: the system's). For `veredus dev`: ca.pem in "
                     "its directory."},
                    {"--no-verify", NULL, NULL, false, "Do not check the server's certificate."},
                    {"--from", NULL, "ADDRESS", false, "The sender (standard: what --user says)."},
                    {"--user", NULL, "NAME", false, "Log in under this name."},
                    OPTION_PASSWORD_STDIN,
                    OPTION_PASSWORD_FILE,
                    {"--message", NULL, "FILE", false,
                     "Send this file, header and all; - is standard input."},
                    {"--subject", NULL, "TEXT", false, "Make a message with this subject."},
                    {"--body", NULL, "TEXT", false, "And with this text."},
                    {"--timeout", NULL, "SECONDS", false,
                     "How long the server may take for a step (standard: 60)."}},
        .examples = {{"veredus send --server mx.example.org --port 25 --from ann@example.com bob@example.org",
                      "Hand a test message to another server, as a server would."},
                     {"veredus send --port 1587 --ca mail/ca.pem --user ann@example.org bob@example.org",
                      "Submit one to `veredus dev --dir mail`."}},
        .run = cli_send,
    },
    {
        .name = "explain",
        .synopsis = "Say in plain words what a reply or status code means",
        .help = "What happened, on whose side, and what to do. Without an argument it lists all codes.",
        .arguments = {{"TEXT", true, true,
                       "A reply code (550), an enhanced status code (5.1.1), a text with one in it, or - to "
                       "read it from "
                       "standard input."}},
        .examples = {{"veredus explain 5.7.1", "One code."},
                     {"veredus explain \"451 4.7.1 Greylisted, try again later\"",
                      "The reply of another server."}},
        .run = cli_explain,
    },
    {
        .name = "verify",
        .synopsis = "Check the log against the index",
        .help = "Reads everything and changes nothing; the server may run meanwhile. Each thing that is "
                "wrong is a line; the exit "
                "code is 65 if there is any.",
        .options = {OPTION_CONFIG, OPTION_DIR},
        .run = cli_verify,
    },
    {
        .name = "reindex",
        .synopsis = "Make the index anew from the log",
        .help = "The server must be stopped. The old index is kept as index.db.old.",
        .options = {OPTION_CONFIG, OPTION_DIR},
        .run = cli_reindex,
    },
    {
        .name = "config check",
        .synopsis = "Check a configuration file",
        .help = "Names the file, the line, what is wrong and the nearest right word for each error. The exit "
                "code is 78 if "
                "there is any.",
        .arguments = {{"FILE", true, false, "The configuration file, or - for standard input."}},
        .options = {OPTION_CONFIG},
        .examples = {{"veredus config check -c veredus.conf", "Check a file before it is put into force."}},
        .run = cli_config_check,
    },
    {
        .name = "config show",
        .synopsis = "Print the configuration with all standard values",
        .arguments = {{"FILE", true, false, "The configuration file, or - for standard input."}},
        .options = {OPTION_CONFIG},
        .examples = {{"veredus config show --json",
                      "All settings as JSON; sizes in octets, times in seconds."}},
        .run = cli_config_show,
    },
    {
        .name = "fence",
        .synopsis = "Try from inside each role what it must not be able to do",
        .help = "Starts every role in its sandbox; each tries to open a file, to connect, to run a program, "
                "to read a key and "
                "so on, and reports what became of it. The exit code is 0 if everything that must be refused "
                "was.",
        .options = {OPTION_SANDBOX},
        .run = cli_fence,
    },
    {
        .name = "help",
        .synopsis = "Print help on a command",
        .arguments = {{"COMMAND", true, true, "The command's words."}},
        .examples = {{"veredus help queue show", "Help on one command."}},
        .run = cli_help,
    },
    {
        .name = "manpage",
        .synopsis = "Print a manual page",
        .arguments = {{"PAGE", true, false,
                       "commands: veredus(1), the standard; conf: veredus.conf(5); markdown: the settings "
                       "for docs/."}},
        .examples = {{"veredus manpage conf | man -l -", "Read the page on the configuration."}},
        .run = cli_manpage,
    },
    {
        .name = "completion",
        .synopsis = "Print the completion of these commands for bash",
        .examples = {{"source <(veredus completion)", "Complete commands and options in this shell."}},
        .run = cli_completion,
    },
    {.name = "version", .synopsis = "Print the version", .run = cli_version},
};
const size_t cli_command_count = sizeof(cli_commands) / sizeof(cli_commands[0]);
