// Plays a recorded episode on a canvas: capsules seen along one axis, a camera that follows, a line of text.
// data: {dt, returns [T], radius [G], ends [T * G * 4]} with the ends x0, y0, x1, y1 of each capsule in mm.
"use strict";

function play(root, data) {
  const canvas = root.querySelector("canvas"), slider = root.querySelector("input");
  const button = root.querySelector("button"), speed = root.querySelector("select");
  const context = canvas.getContext("2d"), frames = data.returns.length, shapes = data.radius.length;
  const end = (frame, shape, i) => data.ends[(frame * shapes + shape) * 4 + i] / 1000; // m

  // What the camera centres on: the middle of the body, smoothed so that strokes do not shake the picture.
  const centre = [];
  let extent = 0;
  for (let t = 0; t < frames; t++) {
    let x = 0, y = 0;
    for (let s = 0; s < shapes; s++) {
      x += (end(t, s, 0) + end(t, s, 2)) / 2 / shapes;
      y += (end(t, s, 1) + end(t, s, 3)) / 2 / shapes;
    }
    for (let s = 0; s < shapes; s++)
      for (const i of [0, 2])
        extent = Math.max(extent, Math.hypot(end(t, s, i) - x, end(t, s, i + 1) - y) + data.radius[s]);
    centre.push([x, y]);
  }
  const follow = centre.map((_, t) => {
    const around = centre.slice(Math.max(0, t - 20), t + 21);
    return [0, 1].map((i) => around.reduce((sum, c) => sum + c[i], 0) / around.length);
  });

  let time = 0, running = true, last = null;

  function draw() {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const frame = Math.min(frames - 1, Math.floor(time / data.dt));
    const scale = Math.min(width, height) / (2.6 * extent), [cx, cy] = follow[frame];
    const toX = (x) => width / 2 + (x - cx) * scale, toY = (y) => height / 2 - (y - cy) * scale;

    context.fillStyle = "#4d7896";
    context.fillRect(0, 0, width, height);
    context.fillStyle = "#557f9e"; // tiles of one metre, fixed to the world
    const left = Math.floor(cx - width / 2 / scale), right = cx + width / 2 / scale;
    const bottom = Math.floor(cy - height / 2 / scale), top = cy + height / 2 / scale;
    for (let x = left; x < right; x++)
      for (let y = bottom; y < top; y++)
        if ((x + y) % 2 === 0) context.fillRect(toX(x), toY(y + 1), scale, scale);

    context.beginPath(); // the way so far
    for (let t = 0; t <= frame; t++) context.lineTo(toX(centre[t][0]), toY(centre[t][1]));
    context.strokeStyle = "rgba(255, 255, 255, 0.5)";
    context.lineWidth = 1.5;
    context.stroke();

    context.lineCap = "round";
    for (const [grow, colour] of [[3, "#5a3208"], [0, "#f2a53f"]]) // an outline, then the body
      for (let s = 0; s < shapes; s++) {
        context.beginPath();
        context.moveTo(toX(end(frame, s, 0)), toY(end(frame, s, 1)));
        context.lineTo(toX(end(frame, s, 2)) + 0.01, toY(end(frame, s, 3))); // a sphere is a dot, not nothing
        context.strokeStyle = colour;
        context.lineWidth = 2 * data.radius[s] * scale + grow;
        context.stroke();
      }

    context.font = "15px system-ui, sans-serif";
    context.fillStyle = "white";
    context.fillText(`return ${data.returns[frame].toFixed(1)}   time ${(frame * data.dt).toFixed(1)} s`, 12, 24);
    slider.value = frame;
  }

  function tick(now) {
    if (running && last !== null) {
      time += ((now - last) / 1000) * Number(speed.value);
      if (time >= frames * data.dt) time = 0;
      draw();
    }
    last = now;
    requestAnimationFrame(tick);
  }

  function pause(value) {
    running = !value;
    button.textContent = running ? "pause" : "play";
  }

  slider.max = frames - 1;
  slider.addEventListener("input", () => {
    time = Number(slider.value) * data.dt;
    pause(true);
    draw();
  });
  button.addEventListener("click", () => pause(running));
  window.addEventListener("resize", draw);
  draw();
  requestAnimationFrame(tick);
}
