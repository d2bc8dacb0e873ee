// Presses, then asks for the account that pressed and for another one, with KafkaJS.
// press_and_ask.js BOOTSTRAP PREFIX

const { Kafka, Partitioners, logLevel } = require('kafkajs')

async function main ([bootstrap, prefix]) {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR })
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  const send = (topic, key, body) =>
    producer.send({ topic: prefix + topic, acks: -1, messages: [{ key, value: JSON.stringify(body) }] })
  await producer.connect()
  await send('panic-button', 'acc-1', { account_id: 'acc-1', press_id: 'from-kafkajs' })
  await send('withdrawal-request', 'acc-1', { withdrawal_id: 'w-1', account_id: 'acc-1' })
  await send('withdrawal-request', 'acc-2', { withdrawal_id: 'w-2', account_id: 'acc-2' })
  await producer.disconnect()
}

main(process.argv.slice(2)).catch(error => {
  console.error(error)
  process.exit(1)
})
