"""The reasons for which the service refuses requests.

ServiceError           message, param, code
├── InvalidRequest         the request is malformed or asks for something that is not allowed
├── Unauthenticated        there is no API key, or it is not valid
├── Forbidden              the key may only read, or the request may come from a web page
├── NotFound               there is no such container or file, or it has expired or belongs to another key
├── NotAllowed             the resource does not have this operation
├── TimedOut               the request did not arrive in time
├── Conflict               the request contradicts an earlier one
├── TooLarge               the request is larger than this server accepts
├── HeadTooLarge           the request line and headers are too large
├── UnsupportedMediaType   the operation does not take bodies of this kind
├── Overloaded             the server is busy with other requests, or its store does not answer
└── OutOfSpace             there is no space to store it
"""


class ServiceError(Exception):
    """The service refuses a request.

    Attributes:
        message: says what is wrong, to the person who sent the request.
        param: the name of the wrong parameter, if there is one.
        code: a fixed word for programs, if there is one.
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
