"""Runs the scripts of imaptest: conversations with an IMAP server and the replies that must come, in the format that
../shared/vectors/README.md describes."""
import contextlib
import re
import socket
import ssl
import time

WORD = re.compile(rb'[^\s()"\[\]{}]')


class ScriptError(AssertionError):
    pass


# Reading replies and expectations into lists of bytes and lists.

class Bracket(list):
    """A list in square brackets: a response code."""


def parse(text):
    """IMAP's data syntax, with "{n}" literals or the scripts' {{{ }}} in it."""
    items, stack, at = [], [], 0
    while at < len(text):
        c = text[at:at + 1]
        if c in b" \r\n":
            at += 1
        elif c in b"([":
            stack.append((items, c))
            items = [] if c == b"(" else Bracket()
            at += 1
        elif c in b")]":
            if not stack:
                at += 1
                continue
            outer, _ = stack.pop()
            outer.append(items)
            items = outer
            at += 1
        elif c == b'"':
            value, at = quoted(text, at)
            items.append(value)
        elif (match := re.compile(rb"~?\{\{\{\r?\n(.*?)\}\}\}", re.S).match(text, at)):
            items.append(held(match[0], match[1]))
            at = match.end()
        elif (match := re.compile(rb"~?\{(\d+)\+?\}\r\n").match(text, at)):
            items.append(text[match.end():match.end() + int(match[1])])
            at = match.end() + int(match[1])
        else:
            value, at = atom(text, at)
            items.append(value)
    while stack:
        outer, _ = stack.pop()
        outer.append(items)
        items = outer
    return items


def held(whole, body):
    """What {{{ }}} holds: without the last line break; lines end in CRLF, but with "~" every octet is what it is."""
    body = body[:-1] if body.endswith(b"\n") else body
    return body if whole.startswith(b"~") else re.sub(rb"\r?\n", b"\r\n", body)


def quoted(text, at):
    value = b""
    at += 1
    while at < len(text) and text[at:at + 1] != b'"':
        if text[at:at + 1] == b"\\":
            at += 1
        value += text[at:at + 1]
        at += 1
    return value, at + 1


def atom(text, at):
    begin = at
    while at < len(text):
        c = text[at:at + 1]
        if c == b"[":
            at = text.index(b"]", at) + 1
        elif c in b' ()"\r\n]':
            break
        else:
            at += 1
    return text[begin:max(at, begin + 1)], max(at, begin + 1)


# Matching.

NAME = re.compile(rb"\$\{(?:case:)?([A-Za-z0-9_-]+)\}|\$([A-Za-z_][A-Za-z0-9_]*|[0-9]+)|\$\$")


def expand(word, known):
    """A word with what is known put in; None if something is not known yet."""
    missing = False

    def put(match):
        nonlocal missing
        if match[0] == b"$$":
            return b"$"
        name = match[1] or match[2]
        if match[0].startswith(b"${case:"):
            return name
        if name not in known:
            missing = True
            return b""
        return known[name] if isinstance(known[name], bytes) else b""
    result = NAME.sub(put, word)
    return None if missing else result


def match_word(expected, actual, known):
    if expected == b"$":
        return True
    whole = NAME.fullmatch(expected)
    if whole and whole[0] != b"$$" and not expected.startswith(b"${case:"):
        name = whole[1] or whole[2]
        if name in known:
            return same(known[name], actual)
        known[name] = actual
        return True
    if not isinstance(actual, bytes):
        return False
    if expected.startswith(b"${case:"):
        return expected[7:-1] == actual
    text = expand(expected, known)
    if text is not None:
        return text.lower() == actual.lower()
    pattern, names, at = b"", [], 0
    for match in NAME.finditer(expected):
        pattern += re.escape(expected[at:match.start()])
        name = match[1] or match[2]
        if name is not None and name in known:
            pattern += re.escape(known[name])
        elif match[0] == b"$$":
            pattern += rb"\$"
        else:
            names.append(name)
            pattern += b"(.*?)"
        at = match.end()
    found = re.fullmatch(pattern + re.escape(expected[at:]), actual, re.I | re.S)
    if not found:
        return False
    known.update(zip(names, found.groups()))
    return True


def same(a, b):
    if isinstance(a, list) or isinstance(b, list):
        return isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a.lower() == b.lower()


class Rules:
    def __init__(self, unordered=0, extra=False, ignore=(), ban=()):
        self.unordered, self.extra, self.ignore, self.ban = unordered, extra, set(ignore), set(ban)

    def read(self, expected):
        """Takes the directives from the front of a list."""
        rest = list(expected)
        while rest and isinstance(rest[0], bytes) and rest[0].startswith(b"$!"):
            word = rest.pop(0)[2:].lower()
            name, _, value = word.partition(b"=")
            if name == b"unordered":
                self.unordered, self.extra = int(value or 1), True
            elif name == b"ordered":
                self.unordered = 0
            elif name == b"noextra":
                self.extra = False
            elif name == b"extra":
                self.extra = True
            elif name == b"ignore":
                self.ignore.add(value)
            elif name == b"ban":
                self.ban.add(value)
        return rest


def rules_for(context):
    if context == "fetch":
        return Rules(unordered=2, extra=True)
    if context == "flags":
        return Rules(unordered=1, ignore=[rb"\recent"])
    if context == "mailbox":
        return Rules(unordered=1, extra=True)
    if context == "status":
        return Rules(unordered=2, extra=True)
    return Rules()


def match_list(expected, actual, known, context=None):
    if not isinstance(actual, list):
        return False
    rules = rules_for(context)
    expected = rules.read(expected)
    ignored = rules.ignore
    actual = [item for item in actual if not (isinstance(item, bytes) and item.lower() in ignored)]
    expected = [item for item in expected if not (isinstance(item, bytes) and item.lower() in ignored)]
    if any(isinstance(item, bytes) and item.lower() in rules.ban for item in actual):
        return False
    if not rules.unordered:
        if len(actual) < len(expected) or (len(actual) > len(expected) and not rules.extra):
            return False
        return all(match_item(e, a, known, None) for e, a in zip(expected, actual))
    size = rules.unordered
    left = [actual[i:i + size] for i in range(0, len(actual), size)]
    for i in range(0, len(expected), size):
        group = expected[i:i + size]
        for candidate in left:
            trial = dict(known)
            if len(candidate) == len(group) and match_group(group, candidate, trial, context):
                known.update(trial)
                left.remove(candidate)
                break
        else:
            return False
    return rules.extra or not left


def match_group(group, candidate, known, context):
    for i, (e, a) in enumerate(zip(group, candidate)):
        inner = None
        if context == "fetch" and i == 1 and isinstance(group[0], bytes) and group[0].lower() == b"flags":
            inner = "flags"
        if not match_item(e, a, known, inner):
            return False
    return True


def match_item(expected, actual, known, context):
    if isinstance(expected, list):
        return match_list(expected, actual, known, context)
    return match_word(expected, actual, known)


def match_reply(expected, actual, known):
    """An untagged reply without its star; what is known grows by it."""
    trial = dict(known)
    words = [item.lower() if isinstance(item, bytes) else item for item in actual[:2]]
    first = expected[0].lower() if expected and isinstance(expected[0], bytes) else b""
    if len(actual) < len(expected):
        return False
    if len(actual) > len(expected) and first not in (b"ok", b"no", b"bad", b"bye", b"preauth", b"capability"):
        return False
    for i, item in enumerate(expected):
        context = None
        if len(words) > 1 and words[1] in (b"fetch", b"uidfetch") and i == 2:
            context = "fetch"
        elif words and words[0] == b"flags" and i == 1:
            context = "flags"
        elif words and words[0] in (b"list", b"lsub") and i == 1:
            context = "mailbox"
        elif words and words[0] == b"status" and i == 2:
            context = "status"
        if not match_item(item, actual[i], trial, context):
            return False
    known.update(trial)
    return True


# A connection.

class Connection:
    def __init__(self, port):
        self.socket = ssl_wrap(socket.create_connection(("127.0.0.1", port), 30))
        self.file = self.socket.makefile("rb")
        self.expunged = []  # sequence numbers since the command began
        self.greeting = self.read()

    def read(self):
        """One reply, with its literals."""
        text = self.file.readline()
        if not text:
            raise ScriptError("the server closed the connection")
        while (match := re.search(rb"\{(\d+)\}\r\n\Z", text)):
            text += self.file.read(int(match[1])) + self.file.readline()
        return text[:-2]

    def send(self, tag, command):
        """A command, literal by literal."""
        pieces = re.split(rb"(~?\{\d+\}\r\n)", tag + b" " + command + b"\r\n") if b"}\r\n" in command else [tag + b" " + command + b"\r\n"]
        replies = []
        at = 0
        text = b"".join(pieces)
        while (match := re.compile(rb"~?\{(\d+)\}\r\n").search(text, at)):
            self.socket.sendall(text[at:match.end()])
            while not (reply := self.read()).startswith(b"+"):
                replies.append(reply)
                if reply.startswith(tag + b" "):
                    return replies
            at = match.end() + int(match[1])
            self.socket.sendall(text[match.end():at])
        self.socket.sendall(text[at:])
        return replies

    def run(self, tag, command):
        """Sends and reads to the tagged reply: untagged replies, and the tagged one."""
        untagged = self.send(tag, command)
        while not untagged or not untagged[-1].startswith(tag + b" "):
            untagged.append(self.read())
        return untagged[:-1], untagged[-1]

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.close()


def ssl_wrap(plain):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain)


# Messages.

def read_mbox(path):
    """(message, internal date or None) of each."""
    messages = []
    for part in re.split(rb"(?m)^From (?=\S+ )", path.read_bytes())[1:]:
        head, _, body = part.partition(b"\n")
        body = body[:-1] if body.endswith(b"\n\n") else body
        messages.append((re.sub(rb"\r?\n", b"\r\n", body), mbox_date(head)))
    return messages


def mbox_date(line):
    match = re.search(rb"\w{3} (\w{3}) +(\d+) (\d\d:\d\d:\d\d) (\d{4})(?: ([+-]\d{4}))?", line)
    if not match:
        return None
    zone = match[5] or b"+0000"
    return b'"%2d-%s-%s %s %s"' % (int(match[2]), match[1], match[4], match[3], zone)


# Scripts.

class Command:
    """What is sent, and what must come."""
    def __init__(self, connection, tag, text, result):
        self.connection, self.tag, self.text, self.result = connection, tag, text, result
        self.expected, self.banned = [], []
        self.code = []


class Script:
    def __init__(self, path, environment=()):
        self.path = path
        self.head, self.steps = {}, []
        head, _, body = path.read_bytes().partition(b"\n\n")
        if not re.match(rb"(?:#.*\n|\w[\w ]*:)", head):
            head, body = b"", path.read_bytes()
        for line in head.split(b"\n"):
            if b":" in line and not line.startswith(b"#"):
                key, _, value = line.partition(b":")
                self.head[key.strip().decode().lower()] = value.strip()
        self.connections = int(self.head.get("connections", b"1"))
        self.read(self.lines(body), environment)

    @staticmethod
    def lines(body):
        """Logical lines: {{{ }}} holds several together."""
        lines, held = [], b""
        for line in body.split(b"\n"):
            held = held + b"\n" + line if held else line
            if held.count(b"{{{") > held.count(b"}}}"):
                continue
            lines.append(held)
            held = b""
        return lines

    def read(self, lines, environment):
        using = [True]
        current = None
        for line in lines:
            stripped = line.strip()
            if stripped.startswith((b"!ifenv ", b"!ifnenv ")):
                word, _, name = stripped.partition(b" ")
                using.append((name.decode() in environment) == (word == b"!ifenv"))
                continue
            if stripped in (b"!else", b"!endif"):
                if stripped == b"!else":
                    using[-1] = not using[-1]
                else:
                    using.pop()
                continue
            if not all(using) or not stripped or stripped.startswith(b"#"):
                continue
            if stripped.startswith(b"* "):
                current.expected.append(stripped[2:])
                continue
            if stripped.startswith(b"! "):
                current.banned.append(stripped[2:])
                continue
            connection = 1
            if self.connections > 1 and (match := re.match(rb"(\d+) (.*)", stripped, re.S)):
                connection, stripped = int(match[1]), match[2]
            word, _, rest = stripped.partition(b" ")
            if word.lower() in (b"ok", b"no", b"bad", b'""'):
                if current is not None and current.result is None and current.connection == connection and current.tag is None:
                    current.result = word.lower()
                    current.code = parse(rest) if rest else []
                    continue
                current = Command(connection, None, rest, word.lower())
                self.steps.append(("run", current))
            elif re.fullmatch(rb"tag\w*", word):
                match = re.match(rb'(ok|no|bad|"")(?:\s|$)(.*)', rest, re.I | re.S)
                if match:
                    current = Command(connection, word, None, match[1].lower())
                    current.code = parse(match[2])
                    self.steps.append(("wait", current))
                else:
                    current = Command(connection, word, rest, None)
                    self.steps.append(("send", current))
            else:
                current = Command(connection, None, stripped, None)
                self.steps.append(("run", current))


class Runner:
    """One script against a server; `port` is that of IMAP over TLS, every name in `users` may log in."""
    def __init__(self, script, port, users, messages):
        self.script, self.port, self.users, self.messages = script, port, users, messages
        self.connections, self.tags, self.next_message = {}, 0, 0
        self.known = {b"mailbox": b"imaptest", b"password": users[0][1].encode()}
        self.pending = {}
        for i, (name, _) in enumerate(users, 1):
            suffix = b"" if i == 1 else str(i).encode()
            local, _, domain = name.encode().partition(b"@")
            self.known.update({b"user" + suffix: name.encode(), b"username" + suffix: local, b"domain" + suffix: domain})
        self.known[b"mailbox_url"] = b"imaptest"

    def tag(self):
        self.tags += 1
        return b"t%d" % self.tags

    def must(self, connection, command):
        untagged, tagged = connection.run(self.tag(), command)
        if b" OK" not in tagged:
            raise ScriptError(f"{command!r}: {tagged!r}")
        return untagged

    def prepare(self):
        state = self.script.head.get("state", b"selected").decode()
        connections = [Connection(self.port) for _ in range(self.script.connections)]
        self.connections = dict(enumerate(connections, 1))
        if state == "nonauth":
            return
        for number, connection in self.connections.items():
            user = self.script.head.get(f"user {number}", b"$user").strip(b"$")
            index = int(user[4:] or b"1") - 1 if user.startswith(b"user") else 0
            self.must(connection, b'LOGIN "%s" "%s"' % tuple(text.encode() for text in self.users[index]))
        if state == "auth":
            return
        first = self.connections[1]
        self.must(first, b"CREATE imaptest")
        if state == "created":
            return
        wanted = self.script.head.get("messages", b"all")
        for _ in range(len(self.messages) if wanted == b"all" else int(wanted)):
            self.must(first, self.append_command(b"imaptest"))
        if state == "selected":
            for connection in connections:
                self.must(connection, b"SELECT imaptest")

    def append_command(self, arguments):
        message, date = self.messages[self.next_message % len(self.messages)]
        self.next_message += 1
        date = b" " + date if date and b'"' not in arguments else b""
        return b"APPEND %s%s {%d}\r\n%s" % (arguments, date, len(message), message)

    def command_text(self, command):
        text, at = b"", 0
        for match in re.finditer(rb"(~?)\{\{\{\r?\n(.*?)\}\}\}", command.text, flags=re.S):
            text += self.expand(command.text[at:match.start()], command) + self.literal(match[1], match[2])
            at = match.end()
        text += self.expand(command.text[at:], command)
        words = text.split(b" ", 1)
        if words[0].lower() == b"append" and b"{" not in text and b"catenate" not in text.lower():
            return self.append_command(words[1] if len(words) > 1 else b"imaptest")
        return text

    @staticmethod
    def literal(mark, body):
        body = held(mark, body)
        return b"%s{%d}\r\n%s" % (mark, len(body), body)

    def expand(self, text, command):
        known = dict(self.known)
        for name in re.findall(rb"\$\{?(\d+)\}?", text):
            known[name] = name
        known[b"tag"] = command.tag or b""
        result = expand(text, known)
        if result is None:
            raise ScriptError(f"a variable of {text!r} has no value")
        return result

    def numbered(self, expected, connection, expunged):
        """"$3" at the front: message 3 as it was when the command began, moved by the expunges since."""
        match = re.match(rb"\$(\d+)(?=\s)", expected)
        if not match:
            return expected
        number = int(match[1])
        for other in expunged:
            if other < number:
                number -= 1
        return str(number).encode() + expected[match.end():]

    def check(self, command, untagged, tagged):
        expunged, left = [], list(command.expected)
        for reply in untagged:
            if not reply.startswith(b"* "):
                continue
            actual = parse(reply[2:])
            met = set()
            for text in list(left):
                known = dict(self.known)
                known[b"tag"] = command.sent_tag
                # One reply may be what several different lines ask for.
                if text not in met and match_reply(parse(self.numbered(text, command.connection, expunged)), actual, known):
                    known.pop(b"tag", None)
                    self.known = known
                    left.remove(text)
                    met.add(text)
            if not met:
                for text in command.banned:
                    if match_reply(parse(self.numbered(text, command.connection, expunged)), actual, dict(self.known)):
                        raise ScriptError(f"{command.text!r}: {reply!r} came and must not")
                if self.script.head.get("ignore_extra_untagged", b"yes") == b"no":
                    raise ScriptError(f"{command.text!r}: {reply!r} was not expected")
            if (match := re.match(rb"\* (\d+) EXPUNGE", reply, re.I)):
                expunged.append(int(match[1]))
        if left:
            raise ScriptError(f"{command.text!r}: {left} did not come, but {untagged}")
        self.check_result(command, tagged)

    def check_result(self, command, tagged):
        words = parse(tagged)[1:]
        if command.result in (None, b'""'):
            return
        if words[0].lower() != command.result:
            raise ScriptError(f"{command.text!r}: {tagged!r} instead of {command.result!r}")
        known = dict(self.known)
        for expected, actual in zip(command.code, words[1:]):
            if not match_item(expected, actual, known, None):
                raise ScriptError(f"{command.text!r}: {tagged!r} does not begin with {command.code}")
        if len(words) - 1 < len(command.code):
            raise ScriptError(f"{command.text!r}: {tagged!r} lacks {command.code}")
        self.known = known

    def run(self):
        try:
            self.prepare()
            for kind, command in self.script.steps:
                connection = self.connections[command.connection]
                if kind == "run":
                    command.sent_tag = self.tag()
                    self.check(command, *connection.run(command.sent_tag, self.command_text(command)))
                elif kind == "send":
                    command.sent_tag = command.tag
                    self.pending[command.connection, command.tag] = command
                    connection.early = getattr(connection, "early", []) + connection.send(command.tag, self.command_text(command))
                else:
                    self.wait(connection, command)
        finally:
            for connection in self.connections.values():
                connection.close()

    def wait(self, connection, command):
        """The reply of a command that was sent before; untagged ones belong to whichever expects them."""
        sent = self.pending.pop((command.connection, command.tag))
        untagged = connection.early = getattr(connection, "early", [])
        deadline = time.time() + 30
        while not any(reply.startswith(command.tag + b" ") for reply in untagged):
            if time.time() > deadline:
                raise ScriptError(f"no reply to {sent.text!r}")
            untagged.append(connection.read())
        tagged = next(reply for reply in untagged if reply.startswith(command.tag + b" "))
        untagged.remove(tagged)
        sent.result, sent.code = command.result, command.code
        sent.expected += command.expected
        mine = list(untagged)
        self.check(sent, mine, tagged)
