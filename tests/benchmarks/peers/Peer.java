import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Instant;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorSupplier;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;

/** The gate's job with Kafka Streams: the freezes as a table, the requests joined with it. */
public final class Peer {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final DateTimeFormatter TIME =
      new DateTimeFormatterBuilder().appendInstant(3).toFormatter();
  private static final long MIN_SECONDS = 86_400;
  private static final long DEFAULT_SECONDS = 172_800;
  private static final long MAX_SECONDS = 604_800;
  private static final long APPROVAL_MS = 30_000;

  /** A record with what the broker knows of it: the append time, and where it lies. */
  private record Placed(JsonNode body, long appendMs, String place) {}

  /** Hands on each record with its append time and place. */
  private static final class Place
      extends ContextualFixedKeyProcessor<String, JsonNode, Placed> {
    @Override
    public void process(FixedKeyRecord<String, JsonNode> record) {
      var found = context().recordMetadata().orElseThrow();
      var place = found.partition() + ":" + found.offset();
      context().forward(record.withValue(new Placed(record.value(), record.timestamp(), place)));
    }
  }

  private static JsonNode freeze(Placed press) {
    var asked = press.body.get("freeze_seconds");
    long seconds = asked == null ? DEFAULT_SECONDS : Math.clamp(asked.asLong(), MIN_SECONDS, MAX_SECONDS);
    return JSON.createObjectNode()
        .put("frozen_until", press.appendMs + seconds * 1000)
        .put("press_id", press.body.path("press_id").asText("panic-button:" + press.place));
  }

  private static JsonNode later(JsonNode one, JsonNode other) {
    return one.get("frozen_until").asLong() >= other.get("frozen_until").asLong() ? one : other;
  }

  private static JsonNode decide(Placed request, JsonNode freeze) {
    boolean frozen = freeze != null && freeze.get("frozen_until").asLong() > request.appendMs;
    long nowMs = System.currentTimeMillis();
    ObjectNode decision = JSON.createObjectNode();
    decision.set("withdrawal_id", request.body.get("withdrawal_id"));
    decision.set("account_id", request.body.get("account_id"));
    decision
        .put("decision", frozen ? "rejected" : "approved")
        .put("reason", frozen ? "account_frozen" : null)
        .put("frozen_until", frozen ? text(freeze.get("frozen_until").asLong()) : null)
        .put("press_id", frozen ? freeze.get("press_id").asText() : null)
        .put("decided_at", text(nowMs))
        .put("valid_until", frozen ? null : text(nowMs + APPROVAL_MS))
        .put("source", "withdrawal-request:" + request.place)
        .put("freeze_view", "");
    return decision.set("request", request.body);
  }

  private static String text(long timeMs) {
    return TIME.format(Instant.ofEpochMilli(timeMs));
  }

  private static Serde<JsonNode> json() {
    return Serdes.serdeFrom(
        (topic, value) -> {
          try {
            return value == null ? null : JSON.writeValueAsBytes(value);
          } catch (JsonProcessingException exception) {
            throw new UncheckedIOException(exception);
          }
        },
        (topic, bytes) -> {
          try {
            return bytes == null ? null : JSON.readTree(bytes);
          } catch (IOException exception) {
            throw new UncheckedIOException(exception);
          }
        });
  }

  private static Topology topology(String prefix, String decisions) {
    StreamsBuilder builder = new StreamsBuilder();
    Consumed<String, JsonNode> records = Consumed.with(Serdes.String(), json());
    FixedKeyProcessorSupplier<String, JsonNode, Placed> place = Place::new;
    KTable<String, JsonNode> freezes =
        builder
            .stream(prefix + "panic-button", records)
            .processValues(place)
            .mapValues(Peer::freeze)
            .groupByKey(Grouped.with(Serdes.String(), json()))
            .reduce(Peer::later, Materialized.with(Serdes.String(), json()));
    builder
        .stream(prefix + "withdrawal-request", records)
        .processValues(place)
        .leftJoin(freezes, Peer::decide)
        .to(decisions, Produced.with(Serdes.String(), json()));
    return builder.build();
  }

  private static Properties settings(Map<String, String> environment, String guarantee) {
    Properties settings = new Properties();
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, environment.get("GATE_GROUP"));
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, environment.get("GATE_KAFKA_BOOTSTRAP"));
    settings.put(StreamsConfig.STATE_DIR_CONFIG, environment.get("GATE_DATA_DIR"));
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
    settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 10_000);
    return settings;
  }

  public static void main(String[] arguments) {
    var environment = System.getenv();
    var streams =
        new KafkaStreams(
            topology(environment.get("GATE_TOPIC_PREFIX"), environment.get("PEER_DECISION_TOPIC")),
            settings(environment, arguments[0]));
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }
}
