import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A withdrawal engine: lets out what the gate has approved, once each, whatever kills it. The same as engine.py, step
 * for step, with the same ledger and consumer group, so that one can go on where the other was stopped.
 *
 * <pre>java -cp 'jars/*' Engine.java LEDGER RAIL    for example: ledger.sqlite http://127.0.0.1:9100</pre>
 *
 * Needs Java 17 and kafka-clients, jackson-databind and sqlite-jdbc. LEDGER is an SQLite file of this engine alone; in
 * production a table that all your engines share, with the same key. RAIL stands for whatever moves the money, see the
 * class. Where Kafka is, GATE_KAFKA_BOOTSTRAP and GATE_TOPIC_PREFIX say; with GATE_DECISION_KEY_FILE only decisions
 * signed by one of its keys count.
 *
 * What happens to a decision, and what a kill -9 after each step leaves:
 *
 * <pre>
 *     1. check      signature, shadow, verdict.            Nothing was kept: Kafka delivers the decision again.
 *     2. intent     into the ledger, before anybody acts.  The next start asks the rail what became of it (settle).
 *     3. release    at the rail, until the lease ends.     The same.
 *     4. outcome    into the ledger.                       Kafka delivers it again, the ledger knows it.
 *     5. offset     committed every few seconds.           As after 4.
 * </pre>
 *
 * Any error ends the process, and its supervisor starts it again: that is the way it recovers from kill -9, so it is
 * the only one. SIGTERM ends it after the decision in hand, with 143, as Java does.
 */
public final class Engine {
    static final Duration RAIL_TIMEOUT = Duration.ofSeconds(5);
    static final Duration RAIL_RETRY = Duration.ofMillis(500);
    static final Duration POLL = Duration.ofMillis(200);
    static final JsonMapper JSON =
            JsonMapper.builder().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();
    static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, UTF_8);

    /** A record that is no decision to act on; the text says why and repeats nothing of it. */
    static final class Refused extends Exception {
        private static final long serialVersionUID = 1;

        Refused(String why) {
            super(why);
        }
    }

    /** What the gate said; validUntil is null when it said no. */
    record Decision(String withdrawalId, String accountId, Instant validUntil) {
        /** Step 1: read a record by its top-level fields; what to pay stands in your own order with this id. */
        static Decision read(ConsumerRecord<?, byte[]> message, Keys keys) throws Refused {
            byte[] value = message.value() == null ? new byte[0] : message.value();
            if (keys != null && !keys.signed(value, message.headers().headers("gate-signature"))) {
                throw new Refused("it is not signed by one of the keys");
            }
            try {
                JsonNode body = JSON.readTree(value);
                if (body.has("shadow") && !(body.get("shadow").isBoolean() && !body.get("shadow").booleanValue())) {
                    throw new Refused("it is of the shadow mode and decides nothing");
                }
                String verdict = text(body, "decision");
                Instant until = null;
                if (verdict.equals("approved")) {
                    until = OffsetDateTime.parse(text(body, "valid_until")).toInstant();
                } else if (!verdict.equals("rejected")) {
                    throw new Refused("it does not keep to the schema");
                }
                return new Decision(text(body, "withdrawal_id"), text(body, "account_id"), until);
            } catch (IOException | DateTimeException error) {
                throw new Refused("it does not keep to the schema");
            }
        }

        private static String text(JsonNode body, String field) throws Refused {
            JsonNode found = body.path(field);
            if (!found.isTextual() || found.textValue().isEmpty()) {
                throw new Refused("it does not keep to the schema");
            }
            return found.textValue();
        }
    }

    /** The keys of docs/signing.md: a line each, {@code <key id> <secret in hex>}. */
    record Keys(Map<String, byte[]> secrets) {
        static final Pattern LINE = Pattern.compile("([A-Za-z0-9._-]{1,64})[ \\t]+((?:[0-9a-fA-F]{2}){32,})");

        static Keys parse(String text) {
            Map<String, byte[]> secrets = new HashMap<>();
            int number = 0;
            for (String line : text.lines().map(String::strip).toList()) {
                number++;
                if (line.isEmpty() || line.startsWith("#")) {
                    continue;
                }
                Matcher found = LINE.matcher(line);
                if (!found.matches() || secrets.put(found.group(1), HexFormat.of().parseHex(found.group(2))) != null) {
                    throw new IllegalArgumentException("GATE_DECISION_KEY_FILE: line " + number + " is no new key");
                }
            }
            if (secrets.isEmpty()) {
                throw new IllegalArgumentException("GATE_DECISION_KEY_FILE: it holds no key");
            }
            return new Keys(secrets);
        }

        /** Tell whether the one signature is of these bytes, by one of these keys. */
        boolean signed(byte[] value, Iterable<Header> headers) {
            List<byte[]> held = new ArrayList<>();
            headers.forEach(header -> held.add(header.value()));
            if (held.size() != 1 || held.get(0) == null) {
                return false;
            }
            String[] parts = new String(held.get(0), ISO_8859_1).split(" ", 3);
            byte[] secret = parts.length == 3 && parts[0].equals("v1") ? secrets.get(parts[1]) : null;
            if (secret == null) {
                return false;
            }
            try {
                Mac hmac = Mac.getInstance("HmacSHA256");
                hmac.init(new SecretKeySpec(secret, "HmacSHA256"));
                byte[] wanted = HexFormat.of().formatHex(hmac.doFinal(value)).getBytes(ISO_8859_1);
                return MessageDigest.isEqual(wanted, parts[2].getBytes(ISO_8859_1));
            } catch (GeneralSecurityException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    /** What was decided and what became of it, by withdrawal id; each call returns once it is on the disk. */
    static final class Ledger {
        private final Connection rows;

        /** Open it for this process alone; SQLException when another engine has it. */
        Ledger(Path path) throws SQLException {
            rows = DriverManager.getConnection("jdbc:sqlite:" + path);
            try (var statement = rows.createStatement()) {
                statement.execute("PRAGMA busy_timeout = 0");
                statement.execute("PRAGMA locking_mode = EXCLUSIVE");
                statement.execute("PRAGMA journal_mode = WAL");
                statement.execute("PRAGMA synchronous = FULL");
                statement.execute("""
                        CREATE TABLE IF NOT EXISTS withdrawals (
                            withdrawal_id TEXT PRIMARY KEY,
                            account_id TEXT NOT NULL,
                            valid_until TEXT,
                            state TEXT NOT NULL CHECK (state IN ('intended', 'released', 'expired', 'rejected'))
                        ) STRICT
                        """);
            }
        }

        /** Step 2: keep a decision before anybody acts on it; false when its id was decided before. */
        boolean intend(Decision decision) throws SQLException {
            String until = decision.validUntil() == null ? null : decision.validUntil().toString();
            String state = until == null ? "rejected" : "intended";
            String add = "INSERT INTO withdrawals VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
            return change(add, decision.withdrawalId(), decision.accountId(), until, state) == 1;
        }

        /** Step 4: keep what became of it. */
        void conclude(Decision decision, String state) throws SQLException {
            change("UPDATE withdrawals SET state = ? WHERE withdrawal_id = ?", state, decision.withdrawalId());
        }

        /** Return what an engine that was killed had begun. */
        List<Decision> unsettled() throws SQLException {
            List<Decision> found = new ArrayList<>();
            try (var statement = rows.createStatement();
                    var row = statement.executeQuery("SELECT * FROM withdrawals WHERE state = 'intended'")) {
                while (row.next()) {
                    Instant until = OffsetDateTime.parse(row.getString("valid_until")).toInstant();
                    found.add(new Decision(row.getString("withdrawal_id"), row.getString("account_id"), until));
                }
            }
            return found;
        }

        private int change(String sql, String... values) throws SQLException {
            try (var statement = rows.prepareStatement(sql)) {
                for (int number = 0; number < values.length; number++) {
                    statement.setString(number + 1, values[number]);
                }
                return statement.executeUpdate();
            }
        }
    }

    /**
     * What moves the money, over HTTP. Nobody pays exactly once without this much help from it:
     *
     * <p>it can be asked whether it holds a payment under a withdrawal id; it takes none under an id that it holds
     * already, or it answers look-ups only after all that reached it before; and it takes none after {@code not_after},
     * by its own clock: then a withdrawal that it does not hold by then never leaves. How a chain gives this is said in
     * engine.py.
     */
    static final class Rail {
        private final HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        private final String at;

        Rail(String url) {
            at = url;
        }

        /** Tell whether the withdrawal has left; IOException when the rail does not say. */
        boolean holds(Decision decision) throws IOException, InterruptedException {
            return ask(decision, "GET", BodyPublishers.noBody(), Set.of(200, 404)) == 200;
        }

        /** Step 3: let it out; false when the rail says that it is too late, IOException when nobody knows. */
        boolean release(Decision decision) throws IOException, InterruptedException {
            var payment = JSON.createObjectNode();
            payment.put("account_id", decision.accountId());
            payment.put("not_after", decision.validUntil().toString());
            return ask(decision, "PUT", BodyPublishers.ofString(payment.toString()), Set.of(200, 410)) == 200;
        }

        private int ask(Decision decision, String method, HttpRequest.BodyPublisher body, Set<Integer> answers)
                throws IOException, InterruptedException {
            String id = URLEncoder.encode(decision.withdrawalId(), UTF_8).replace("+", "%20");
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(at + "/payments/" + id));
            request.timeout(RAIL_TIMEOUT).method(method, body);
            HttpResponse<InputStream> answer = http.send(request.build(), BodyHandlers.ofInputStream());
            answer.body().close();
            if (!answers.contains(answer.statusCode())) {
                throw new IOException("the rail answered " + answer.statusCode());
            }
            return answer.statusCode();
        }
    }

    private final Ledger ledger;
    private final Rail rail;
    private final Keys keys;

    Engine(Ledger ledger, Rail rail, Keys keys) {
        this.ledger = ledger;
        this.rail = rail;
        this.keys = keys;
    }

    /** Settle what an engine that was killed had begun, before anything new. */
    void recover() throws SQLException, InterruptedException {
        for (Decision decision : ledger.unsettled()) {
            settle(decision, true);
        }
    }

    /** Take a record of withdrawal-decision through all steps. */
    void handle(ConsumerRecord<?, byte[]> message) throws SQLException, InterruptedException {
        Decision decision;
        try {
            decision = Decision.read(message, keys);
        } catch (Refused refused) {
            tell(message.partition() + ":" + message.offset(), "refused, " + refused.getMessage());
            return;
        }
        if (!ledger.intend(decision)) {
            return;
        }
        if (decision.validUntil() == null) {
            tell(decision.withdrawalId(), "rejected");
            return;
        }
        settle(decision, false);
    }

    /** Do steps 3 and 4; `tried` when the rail may have heard of it already. */
    private void settle(Decision decision, boolean tried) throws SQLException, InterruptedException {
        String state = outcome(decision, tried);
        while (state == null) {
            tell(decision.withdrawalId(), "the rail does not answer, asking again");
            Thread.sleep(RAIL_RETRY.toMillis());
            state = outcome(decision, true);
        }
        ledger.conclude(decision, state);
        tell(decision.withdrawalId(), state);
    }

    /** Return what became of it, null when the rail does not say. */
    private String outcome(Decision decision, boolean tried) throws InterruptedException {
        boolean over = !Instant.now().isBefore(decision.validUntil());
        try {
            if (!over && ((tried && rail.holds(decision)) || rail.release(decision))) {
                return "released";
            }
            // Too late. The rail takes nothing new, so what it does not hold now never leaves: an earlier try counts.
            return tried && rail.holds(decision) ? "released" : "expired";
        } catch (IOException unknown) {
            return null;
        }
    }

    /** Say in one line what became of a withdrawal, without the account. */
    static void tell(String what, String outcome) {
        OUT.println(JSON.createObjectNode().put("withdrawal", what).put("outcome", outcome));
    }

    /** Read decisions that are committed, from the first on. */
    static KafkaConsumer<byte[], byte[]> consumer(String bootstrap, String prefix) {
        String group = prefix + "withdrawal-engine";
        Map<String, Object> options = new HashMap<>();
        options.put("bootstrap.servers", bootstrap);
        options.put("group.id", group);
        // A fixed name, so that an engine that starts again has its partitions back at once. Each needs its own.
        options.put("group.instance.id", group + "-1");
        // Not the default of Java clients: without it decisions arrive that were never made.
        options.put("isolation.level", "read_committed");
        options.put("auto.offset.reset", "earliest");
        // The client commits, in poll(), what earlier polls returned. One record a poll, and that is what was handled.
        options.put("enable.auto.commit", true);
        options.put("max.poll.records", 1);
        var consumer = new KafkaConsumer<>(options, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.subscribe(List.of(prefix + "withdrawal-decision"));
        return consumer;
    }

    private static String setting(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    /** Run until SIGTERM. */
    public static void main(String[] arguments) throws Exception {
        var stopping = new AtomicBoolean();
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping.set(true);
            try {
                main.join();
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }));
        String keyFile = setting("GATE_DECISION_KEY_FILE", null);
        Keys keys = keyFile == null ? null : Keys.parse(Files.readString(Path.of(keyFile)));
        var engine = new Engine(new Ledger(Path.of(arguments[0])), new Rail(arguments[1]), keys);
        engine.recover();
        var consumer = consumer(setting("GATE_KAFKA_BOOTSTRAP", "127.0.0.1:9092"), setting("GATE_TOPIC_PREFIX", ""));
        while (!stopping.get()) {
            for (ConsumerRecord<byte[], byte[]> message : consumer.poll(POLL)) {
                engine.handle(message);
            }
        }
        // Not in a finally: closing commits the record in hand, and one that was not handled must come again.
        consumer.close();
    }
}
