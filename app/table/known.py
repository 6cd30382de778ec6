"""The message types and events that WeChat documents, for the check of the handler table."""

from wechatpy.events import EVENT_TYPES
from wechatpy.messages import MESSAGE_TYPES as WECHATPY_TYPES

MESSAGE_TYPES = frozenset(WECHATPY_TYPES) | {"event", "file", "device_text", "device_event", "device_status"}

# wechatpy keys some events by names of its own; WeChat sends them as subscribe, or as device_event with a bare name.
_SUBSCRIBED = {"subscribe_scan", "subscribe_scan_product"}
_WECHATPY_EVENTS = {name for name in EVENT_TYPES if not name.startswith("device_") and name not in _SUBSCRIBED}

EVENTS = _WECHATPY_EVENTS | {
    # https://developers.weixin.qq.com/doc/offiaccount/Publish/Callback_on_finish.html
    "publishjobfinish",
    # https://developers.weixin.qq.com/doc/offiaccount/Subscription_Messages/api.html
    "subscribe_msg_popup_event",
    "subscribe_msg_change_event",
    "subscribe_msg_sent_event",
    # https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/authorization_change.html
    "user_info_modified",
    "user_authorization_revoke",
    "user_authorization_cancellation",
    "giftcard_pay_done",
    "giftcard_send_to_friend",
    "giftcard_user_accept",
    "cloud_invoice_invoiceresult_event",
    "guide_qrcode_scan_event",
    "guide_invite_result_event",
    "debug_demo",
}
