"""Why the service refuses a request.

ServiceError           message, param, code
├── InvalidRequest         the request is malformed, or asks for what is not allowed
├── Unauthenticated        no API key, or an unknown one
├── Forbidden              a web page asks, where only programs of this machine may
├── NotFound               no such container or file, or it has expired, or it is another key's
├── NotAllowed             no such operation on this resource
├── TimedOut               the request did not arrive in time
├── Conflict               it contradicts an earlier request
├── TooLarge               it is larger than this server accepts
├── HeadTooLarge           its request line and headers are
├── UnsupportedMediaType   its body is of a kind that this operation does not take
├── Overloaded             the server is busy with too many others
└── OutOfSpace             there is no room to store it
"""


class ServiceError(Exception):
    """A request is refused.

    Attributes:
        message: what is wrong, for the person who sent it.
        param: the parameter that is wrong, if it is one.
        code: a word for programs, if there is one.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.code = message, param, code


class InvalidRequest(ServiceError): ...


class Unauthenticated(ServiceError): ...


class Forbidden(ServiceError): ...


class NotFound(ServiceError): ...


class NotAllowed(ServiceError): ...


class TimedOut(ServiceError): ...


class Conflict(ServiceError): ...


class TooLarge(ServiceError): ...


class HeadTooLarge(ServiceError): ...


class UnsupportedMediaType(ServiceError): ...


class Overloaded(ServiceError): ...


class OutOfSpace(ServiceError): ...
