// Publishes one CloudEvent with org.apache.kafka:kafka-clients.
//
//   java -cp 'kafka-clients.jar:slf4j-api.jar' Publish.java BOOTSTRAP CLIENT MESSAGE.eml

import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import java.util.UUID;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Publish {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(ProducerConfig.ACKS_CONFIG, "all");
        settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
        settings.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
        settings.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
        // For a cluster with TLS and passwords, set security.protocol=SASL_SSL,
        // sasl.mechanism=SCRAM-SHA-512, sasl.jaas.config=...

        byte[] message = Files.readAllBytes(Path.of(arguments[2])); // bytes, never a String
        ProducerRecord<byte[], byte[]> record =
                new ProducerRecord<>("mail.intake." + arguments[1], message);
        record.headers()
                .add("ce_specversion", "1.0".getBytes(UTF_8))
                // Use the same id if you submit the same mail again.
                .add("ce_id", UUID.randomUUID().toString().getBytes(UTF_8))
                .add("ce_type", "com.example.newsletter.send".getBytes(UTF_8))
                .add("ce_source", "/example/newsletter".getBytes(UTF_8))
                .add("content-type", "message/rfc822".getBytes(UTF_8));

        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings)) {
            RecordMetadata place = producer.send(record).get(); // throws if Kafka refuses the record
            System.out.printf(
                    "%s partition %d offset %d%n", place.topic(), place.partition(), place.offset());
        }
    }
}
