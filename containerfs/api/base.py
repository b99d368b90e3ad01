"""The base of all objects on the wire."""

from pydantic import BaseModel, ConfigDict


class ApiModel(BaseModel):
    """Base of all objects on the wire: immutable; unknown fields are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())
