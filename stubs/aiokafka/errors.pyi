class KafkaError(RuntimeError):
    retriable: bool

class IncompatibleBrokerVersion(KafkaError): ...
class MessageSizeTooLargeError(KafkaError): ...

class TopicAlreadyExistsError(KafkaError):
    errno: int

def for_code(error_code: int) -> type[KafkaError]: ...
